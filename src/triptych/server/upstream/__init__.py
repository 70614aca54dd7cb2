"""Models that an OpenAI-compatible server answers for: vLLM, SGLang, llama.cpp, a hosted provider, another Triptych."""
