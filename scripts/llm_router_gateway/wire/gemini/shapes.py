"""The objects of a generateContent request and answer, and their known fields, in camelCase.

Read on 2026-11 from the types of the package google-genai (3.4, `google.genai.types`), ai.google.dev/api/generate-content and
cloud.google.com/vertex-ai/generative-ai/docs/model-reference/inference. Fields of generationConfig and toolConfig that are not
read go back to where they were (`request_reader.read_extras`), and so does what a declaration has beside its schema.
"""

from __future__ import annotations

from ..shapes import shape, within

BLOB = shape("mimeType", "data", "displayName")
FILE = shape("mimeType", "fileUri", "displayName")
RESULT_PART = shape("videoMetadata", "mediaResolution", inlineData=BLOB, fileData=FILE)  # the first two go with the medium
PART = shape(
    "text", "thought", "thoughtSignature",
    functionCall=shape("id", "name", "args"), inlineData=BLOB, fileData=FILE,
    functionResponse=shape("id", "name", "response", "willContinue", "scheduling", parts=RESULT_PART),
    executableCode=shape("language", "code", "id"), codeExecutionResult=shape("outcome", "output", "id"),
)  # fmt: skip
STREAMED_CALL = shape(
    "thought", "thoughtSignature", functionCall=shape("id", "name", "args", "partialArgs", "willContinue")
)  # a part of a stream, on Vertex AI with pieces of arguments
CONTENT = shape("role", "parts")
CONFIG = within(thinkingConfig=shape("includeThoughts", "thinkingBudget", "thinkingLevel"))
# Of an answer: what is read; all else that is said beside the parts (ratings, grounding, logprobs) goes on or is named.
ANSWER = shape("candidates", "usageMetadata", "modelVersion", "responseId", "createTime")
CANDIDATE = shape("finishReason", "index", "tokenCount", content=CONTENT)
SEARCH = shape()  # googleSearch, where another vendor's search takes its place: that has none of its settings
# Of usageMetadata: what is counted, the details by kind of content, and how nearly every request is served.
COUNTED = frozenset({
    "promptTokenCount", "cachedContentTokenCount", "candidatesTokenCount", "thoughtsTokenCount", "totalTokenCount",
    "toolUsePromptTokenCount",
})  # fmt: skip
DETAILS = frozenset({"promptTokensDetails", "cacheTokensDetails", "candidatesTokensDetails", "toolUsePromptTokensDetails"})
DETAIL = frozenset({"modality", "tokenCount"})
TEXTS = (None, "TEXT", "MODALITY_UNSPECIFIED")
USUAL_TRAFFIC = ("ON_DEMAND", "standard")
