"""Evaluation of a Gaussian policy that sees camera images."""

from __future__ import annotations

from agent.eval.eval_gaussian_agent import EvalGaussianAgent


class EvalImgGaussianAgent(EvalGaussianAgent):
    """As for states: the policy is given all that the environment observes."""
