"""Looks for traffic between an accelerator and the host in what agents compile.

    python -m tests.agent.host_transfers FILE

A second CPU stands in for the accelerator. Iterations run on it, and of the graphs as
TensorFlow has placed and simplified them it is written down (FILE, JSON)

* which tensors cross between the two devices inside a function, other than its
  arguments and results (control edges carry no data);
* which operations no GPU can do, so that they would fall to the host;
* which operations want in host memory what a GPU computes, by the registered kernels;
* how many tensors Python reads while minibatches are learned from.

A function that XLA must compile is one operation; what it cannot do, it refuses.
"""

from __future__ import annotations

import functools
import json
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from unittest import mock

# Operations fused for CPUs have no kernels for GPUs.
os.environ["TF_ENABLE_ONEDNN_OPTS"] = "0"

import tensorflow as tf
from tensorflow.python.eager import context
from tensorflow.python.framework import kernels, op_def_registry

from tests.agent.tiny import tiny_config, write_dataset
from tests.agent.two_devices import CASES, make, split_cpu
from util.config import resolve_target

ACCELERATOR = "/CPU:1"
# Of functions, and of single operations that Python runs (bounds of a slice).
ARGUMENTS = {"_Arg", "_DeviceArg"}
RUNTIME = {"_Arg", "_Retval", "_Send", "_Recv", "_HostSend", "_HostRecv"}
# Made by TensorFlow where a graph is to run on a CPU.
CPU_ONLY = {"_UnaryOpsComposition"}


def inspect(run: Callable[[], Any]) -> dict[str, list[str]]:
    """Runs something for the first time; what its graphs send where."""
    context.enable_run_metadata()
    try:
        run()
        metadata = context.export_run_metadata()
    finally:
        context.disable_run_metadata()
    graphs = [g for f in metadata.function_graphs for g in f.partition_graphs]
    found: dict[str, set[str]] = {"crossings": set(), "host only": set()}
    found |= {"to host": set(), "operations": set()}
    for graph in graphs:
        nodes = {node.name: node for node in graph.node}
        found["operations"] |= {node.op for node in graph.node}
        found["crossings"] |= set(_crossings(nodes))
        for node in nodes.values():
            if node.op in RUNTIME | CPU_ONLY:
                continue
            # Python runs on the host, whatever kernel calls it.
            if _gpu_kernel(node) is None or "PyFunc" in node.op:
                found["host only"].add(f"{node.op} {node.name}")
            found["to host"] |= set(_reads_on_host(node, nodes))
    return {key: sorted(values) for key, values in found.items()}


def _crossings(nodes: dict[str, Any]) -> Iterator[str]:
    """Tensors sent from one device to the other that are no arguments or results."""
    for node in nodes.values():
        if node.op not in ("_Send", "_HostSend") or "/ctrl/" in node.input[0]:
            continue
        source = nodes[_source(node.input[0])]
        while source.op in ("Identity", "Switch"):
            source = nodes[_source(source.input[0])]
        if source.op not in ARGUMENTS and not node.attr["client_terminated"].b:
            receiver = node.attr["recv_device"].s.decode()[-6:]
            yield f"{source.op} {source.name} is sent to {receiver}"


def _source(name: str) -> str:
    return name.lstrip("^").partition(":")[0]


@functools.cache
def _kernels(operation: str) -> list[Any]:
    return list(kernels.get_registered_kernels_for_op(operation).kernel)


def _gpu_kernel(node: Any) -> Any:
    """The kernel that a GPU would run, or None."""

    def fits(kernel: Any) -> bool:
        for constraint in kernel.constraint:
            value = node.attr[constraint.name]
            types = [value.type] if value.type else value.list.type
            if not set(types) <= set(constraint.allowed_values.list.type):
                return False
        return kernel.device_type in ("GPU", "DEFAULT")

    return next(filter(fits, _kernels(node.op)), None)


def _argument_names(arguments: Any, node: Any) -> list[str]:
    """The name of each input or output, repeated for lists."""
    names = []
    for argument in arguments:
        count = 1
        if argument.number_attr:
            count = node.attr[argument.number_attr].i
        elif argument.type_list_attr:
            count = len(node.attr[argument.type_list_attr].list.type)
        names += [argument.name] * count
    return names


def _on_host(node: Any, output: int) -> bool:
    """Whether a GPU's kernel leaves this output in host memory."""
    kernel = _gpu_kernel(node)
    outputs = _argument_names(op_def_registry.get(node.op).output_arg, node)
    return kernel is None or outputs[output] in kernel.host_memory_arg


def _reads_on_host(node: Any, nodes: dict[str, Any]) -> Iterator[str]:
    """Inputs of `node` that it wants on the host, made on the device."""
    kernel = _gpu_kernel(node)
    if kernel is None or not kernel.host_memory_arg:
        return
    names = _argument_names(op_def_registry.get(node.op).input_arg, node)
    data = [name for name in node.input if not name.startswith("^")]
    for name, given in zip(names, data, strict=True):
        source = nodes[_source(given)]
        output = int(given.partition(":")[2] or 0)
        known = source.op in RUNTIME or source.op == "Const"
        if (
            name in kernel.host_memory_arg
            and not known
            and not _on_host(source, output)
        ):
            yield f"{source.op} {source.name} -> {node.op} {node.name}"


class Reads:
    """Counts tensors that Python reads while something runs."""

    def __init__(self) -> None:
        self.count = 0

    def during(self, run: Callable[[], Any]) -> int:
        """Number of tensors read."""
        kind = type(tf.constant(0.0)).__mro__[1]
        plain = kind._numpy

        def numpy(tensor: Any) -> Any:
            self.count += 1
            return plain(tensor)

        before = self.count
        with mock.patch.object(kind, "_numpy", numpy):
            run()
        return self.count - before


def fine_tuning(folder: Path, case: str) -> dict[str, Any]:
    """A training iteration, and the reads of the next one's minibatches."""
    agent = make(folder / case, case, "device=cpu", "train.target_kl=100")
    found: dict[str, Any] = inspect(agent.iterate)
    run_epochs, reads, steps = agent.run_epochs, Reads(), []
    agent.trace = lambda label, **_: steps.append(label == "minibatch")

    def counted(data: Any) -> Any:
        result: list[Any] = []
        found["reads"] = reads.during(lambda: result.append(run_epochs(data)))
        return result[0]

    agent.run_epochs = counted
    agent.iterate()
    return {**found, "minibatches": sum(steps)}


def cloning(folder: Path, case: str) -> dict[str, Any]:
    """An epoch without validation, whose rows are gathered on the fly."""
    agent = make(folder / case, case, "device=cpu", "train.train_split=1")
    return inspect(agent.run_epoch)


def evaluation(folder: Path) -> dict[str, Any]:
    """An evaluation of what was fine-tuned."""
    options = (f"base_policy_path={folder / 'ppo'}", "model.network.mlp_dims=[16]")
    cfg = tiny_config("eval", folder / "eval", *options)
    return inspect(resolve_target(cfg._target_)(cfg).run)


def known_bad() -> dict[str, Any]:
    """Functions with what agents must not have, each of which has to be found."""

    @tf.function
    def through_python(x: tf.Tensor) -> tf.Tensor:
        return tf.py_function(lambda x: x + 1.0, [x], tf.float32)

    @tf.function
    def through_host(x: tf.Tensor) -> tf.Tensor:
        with tf.device("/CPU:0"):
            y = tf.exp(x)
        return y + x

    @tf.function
    def loop_on_values(x: tf.Tensor) -> tf.Tensor:
        return tf.while_loop(lambda x: tf.reduce_sum(x) < 9.0, lambda x: [x + 1], [x])

    x = tf.constant([1.0, 2.0])
    functions = (through_python, through_host, loop_on_values)
    return {f.python_function.__name__: inspect(lambda f=f: f(x)) for f in functions}


def main() -> None:
    """Inspects all agents of diffusion policies, and the Gaussian ones."""
    target = Path(sys.argv[1])
    split_cpu()
    folder = target.parent
    write_dataset(folder / "train.npz")
    found = {}
    place = mock.patch("agent.dataset.sequence.select_device", return_value=ACCELERATOR)
    with tf.device(ACCELERATOR), place:
        for case in CASES:
            look = cloning if case.startswith("pretrain") else fine_tuning
            found[case] = look(folder, case)
        found["eval"] = evaluation(folder)
        found |= known_bad()
    target.write_text(json.dumps(found))


if __name__ == "__main__":
    main()
