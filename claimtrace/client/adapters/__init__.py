"""The clients, over httpx: one that blocks, and one for asyncio."""
