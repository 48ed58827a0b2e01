"""One loop, on CPU or GPU, alone or under torchrun: what a step does, and what it needs."""
