"""Package metadata and dependencies; versions that were run together."""

from setuptools import find_packages, setup

CORE = [
    "tensorflow==2.21.0",
    "keras==3.15.1",
    "numpy==2.4.6",
    "h5py==3.14.0",
    "hydra-core==1.3.2",
    "omegaconf==2.3.1",
    "einops>=0.8",
    "gdown>=6.0",
    "matplotlib>=3.10",
    "tensorboard>=2.19",
    "tqdm>=4.67",
    "wandb==0.31.0",
]
GYM = ["gymnasium==1.4.0", "imageio>=2.37", "mujoco==3.2.7"]
EXTRAS = {
    "gym": GYM,
    "robomimic": [*GYM, "robosuite==1.4.1"],
    "kitchen": [*GYM, "gymnasium-robotics==1.4.2"],
    "d3il": ["mujoco==3.2.7"],
    "envpool": ["envpool==1.2.5"],
    "launchers": [
        "hydra-joblib-launcher==1.2.0",
        "hydra-ray-launcher==1.2.2",
        "hydra-submitit-launcher==1.2.0",
    ],
    "gpu": ["tensorflow[and-cuda]==2.21.0"],
    "test": [
        "torch==2.13.0",
        "pytest>=9.0",
        "pytest-xdist>=3.8",
        "hypothesis>=6.140",
        "mypy>=1.18",
        "ruff>=0.14",
    ],
}
EXTRAS["all"] = sorted(
    {need for name, needs in EXTRAS.items() if name != "gpu" for need in needs}
)

setup(
    name="dppo-tf",
    version="0.1.0",
    description="Diffusion Policy Policy Optimization in TensorFlow",
    license="MIT",
    python_requires=">=3.11",
    packages=find_packages(include=["agent*", "env*", "model*", "script*", "util*"]),
    package_data={"": ["*.npz", "*.json", "*.yaml"]},
    install_requires=CORE,
    extras_require=EXTRAS,
)
