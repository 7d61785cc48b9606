// Google's own SDK for JavaScript.
import { GoogleGenAI } from "@google/genai";
import { CHAT, HELLO, KEY, LIMITED, TOO_LONG, URL, report } from "./probe.mjs";

const { models } = new GoogleGenAI({ apiKey: KEY, httpOptions: { baseUrl: URL } });
const CUT = CHAT.replace("chat", "cut");

async function chat(model = CHAT) {
  return (await models.generateContent({ model, contents: HELLO })).text;
}

async function stream(model = CHAT) {
  const pieces = [];
  for await (const piece of await models.generateContentStream({ model, contents: HELLO })) pieces.push(piece.text ?? "");
  return pieces;
}

await report({ chat, stream, cut: () => stream(CUT), limited: () => chat(LIMITED), long: () => chat(TOO_LONG) });
