"""Compare a model's labels with the truth, in numbers and pictures, and choose its clustering parameters."""
