"""From logits to tokens, and from tokens to the text that is shown."""
