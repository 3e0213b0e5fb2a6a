"""The samplers written down once more, in NumPy and double precision."""

import numpy as np


def alphas_cumprod(steps: int) -> np.ndarray:
    """Products of 1 - beta of the cosine schedule, (steps,)."""
    x = np.linspace(0, 1, steps + 1)
    f = np.cos((x + 0.008) / 1.008 * np.pi / 2) ** 2
    return np.cumprod(np.maximum(f[1:] / f[:-1], 1 - 0.999))


def ddpm_step(x, noise, t, abar, clip=1.0):
    """Mean and standard deviation of x_{t-1} given x_t and the predicted noise."""
    prev = abar[t - 1] if t else 1.0
    alpha, beta = abar[t] / prev, 1 - abar[t] / prev
    x0 = (x - np.sqrt(1 - abar[t]) * noise) / np.sqrt(abar[t])
    x0 = np.clip(x0, -clip, clip)
    mean = beta * np.sqrt(prev) * x0 + (1 - prev) * np.sqrt(alpha) * x
    return mean / (1 - abar[t]), np.sqrt(beta * (1 - prev) / (1 - abar[t]))


def ddim_times(steps: int, total: int) -> np.ndarray:
    """Denoising steps of the shortened sampler, noisiest first."""
    return (np.arange(steps) * (total // steps))[::-1]


def ddim_step(x, noise, index, times, abar, eta=0.0, clip=1.0, eps_clip=np.inf):
    """The same for DDIM, where index counts positions from the noisiest."""
    a = abar[times[index]]
    prev = abar[times[index + 1]] if index + 1 < len(times) else 1.0
    x0 = np.clip((x - np.sqrt(1 - a) * noise) / np.sqrt(a), -clip, clip)
    noise = np.clip((x - np.sqrt(a) * x0) / np.sqrt(1 - a), -eps_clip, eps_clip)
    std = eta * np.sqrt((1 - prev) / (1 - a) * (1 - a / prev))
    return np.sqrt(prev) * x0 + np.sqrt(1 - prev - std**2) * noise, std


def log_density(x, mean, std):
    """log N(x; mean, std), elementwise."""
    return -((x - mean) ** 2) / (2 * std**2) - np.log(std) - 0.5 * np.log(2 * np.pi)
