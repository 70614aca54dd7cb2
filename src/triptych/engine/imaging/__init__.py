"""From a picture's bytes to the pixel values a vision tower takes."""
