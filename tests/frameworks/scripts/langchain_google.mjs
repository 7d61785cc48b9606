// LangChain's Google package for JavaScript.
import { HumanMessage, ToolMessage } from "@langchain/core/messages";
import { tool } from "@langchain/core/tools";
import { ChatGoogleGenerativeAI } from "@langchain/google-genai";
import { z } from "zod";
import { CHAT, HELLO, KEY, LIMITED, TOOLS, TOO_LONG, URL, add, report } from "./probe.mjs";

const model = (name) => new ChatGoogleGenerativeAI({ model: name, apiKey: KEY, baseUrl: URL, maxRetries: 0 });
const adder = tool(add, { name: "add", description: "Adds.", schema: z.object({ first: z.int(), second: z.int() }) });

async function chat(name = CHAT) {
  return (await model(name).invoke(HELLO)).text;
}

async function stream() {
  const pieces = [];
  for await (const piece of await model(CHAT).stream(HELLO)) pieces.push(piece.text);
  return pieces;
}

async function tools() {
  const bound = model(TOOLS).bindTools([adder]);
  const history = [new HumanMessage(HELLO)];
  const answer = await bound.invoke(history);
  history.push(answer);
  for (const call of answer.tool_calls) {
    history.push(new ToolMessage({ content: add(call.args), tool_call_id: call.id, name: call.name }));
  }
  return (await bound.invoke(history)).text;
}

async function schema() {
  const asked = model(CHAT).withStructuredOutput(z.object({ city: z.string(), nights: z.int() }), { name: "trip" });
  const { city, nights } = await asked.invoke(HELLO);
  return [city, nights];
}

await report({ chat, stream, tools, schema, limited: () => chat(LIMITED), long: () => chat(TOO_LONG) });
