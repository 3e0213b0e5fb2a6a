"""Evaluation of a diffusion policy that sees camera images."""

from __future__ import annotations

from agent.eval.eval_diffusion_agent import EvalDiffusionAgent


class EvalImgDiffusionAgent(EvalDiffusionAgent):
    """As for states: the policy is given all that the environment observes."""
