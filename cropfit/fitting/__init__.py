"""Fits of models to data: priors, likelihoods, samplers and what comes out of them."""
