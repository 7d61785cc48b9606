"""What LLMRouterClient can do beyond its card: routing, schemas, tools, conversations, cache, prices, budget and usage log.

Each module is imported by llm_router_client.extra() when it is needed. Standard library only, Python 3.9 or newer.
"""
