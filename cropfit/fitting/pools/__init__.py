"""Workers that compute likelihoods: processes of our own, or any pool that the user has.

    LikelihoodPool ──errands: points──▶ Crew (our processes) or Lent (the user's pool)
          ▲                                      │
          └──────answers: numbers────────────────┘   problem: shipped once a worker

What a sampler gets is the same, to the bit, as without a pool: points are cut into
chunks, and put together again in order.
"""

from __future__ import annotations

from cropfit.fitting.pools.likelihood import LikelihoodPool, likelihood_pool

__all__ = ["LikelihoodPool", "likelihood_pool"]
