"""AudioLDM2: diffusers' pipeline as a model folder of transformers."""
