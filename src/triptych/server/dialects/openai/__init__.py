"""OpenAI's chat completions, completions and models, with vLLM's common extensions."""
