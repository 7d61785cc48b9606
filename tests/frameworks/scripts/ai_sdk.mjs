// The AI SDK with the provider that the first argument names; openai's default is Responses.
import { createAnthropic } from "@ai-sdk/anthropic";
import { createGoogleGenerativeAI } from "@ai-sdk/google";
import { createOpenAI } from "@ai-sdk/openai";
import { createOpenAICompatible } from "@ai-sdk/openai-compatible";
import { Output, generateText, isStepCount, streamText, tool } from "ai";
import { z } from "zod";
import { CHAT, HELLO, KEY, LIMITED, TOOLS, TOO_LONG, URL, add, report } from "./probe.mjs";

const provider = {
  openai: () => createOpenAI({ baseURL: `${URL}/v1`, apiKey: KEY }),
  compatible: () => createOpenAICompatible({ name: "gateway", baseURL: `${URL}/v1`, apiKey: KEY, supportsStructuredOutputs: true }),
  anthropic: () => createAnthropic({ baseURL: `${URL}/v1`, apiKey: KEY }),
  google: () => createGoogleGenerativeAI({ baseURL: `${URL}/v1beta`, apiKey: KEY }),
}[process.argv[2]]();
const tools = { add: tool({ description: "Adds.", inputSchema: z.object({ first: z.int(), second: z.int() }), execute: add }) };

async function chat(model = CHAT) {
  return (await generateText({ model: provider(model), prompt: HELLO })).text;
}

async function stream() {
  const pieces = [];
  for await (const piece of streamText({ model: provider(CHAT), prompt: HELLO }).textStream) pieces.push(piece);
  return pieces;
}

async function schema() {
  const output = Output.object({ schema: z.object({ city: z.string(), nights: z.int() }) });
  const { city, nights } = (await generateText({ model: provider(CHAT), prompt: HELLO, output })).output;
  return [city, nights];
}

await report({
  chat,
  stream,
  tools: async () => (await generateText({ model: provider(TOOLS), prompt: HELLO, tools, stopWhen: isStepCount(3) })).text,
  tools_streamed: async () => streamText({ model: provider(TOOLS), prompt: HELLO, tools, stopWhen: isStepCount(3) }).text,
  schema,
  limited: () => chat(LIMITED),
  long: () => chat(TOO_LONG),
});
