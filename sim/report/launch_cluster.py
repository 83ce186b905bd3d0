"""Launches for whole clusters: Kubernetes objects, NVIDIA Dynamo's graph of them, batch scripts of Slurm.

Fields: Kubernetes apps/v1 Deployment and v1 Service; DynamoGraphDeployment nvidia.com/v1alpha1 (ai-dynamo/dynamo,
examples/backends/vllm/deploy); Slurm's sbatch; torchrun; vLLM's multi-node arguments (2026).
"""

from __future__ import annotations

import shlex
from collections.abc import Callable, Sequence
from typing import Any

from ..errors import InputError
from .launch_serving import Serving, head, neuron, sglang, trtllm, unsaid, vllm, vllm_words

_RESOURCES = {
    "gpu": "nvidia.com/gpu",
    "amd": "amd.com/gpu",
    "gaudi": "habana.ai/gaudi",
    "tpu": "google.com/tpu",
    "neuron": "aws.amazon.com/neuron",
}
_IMAGES = {
    "gpu": "vllm/vllm-openai:latest",
    "amd": "vllm/vllm-openai-rocm:latest",
    "tpu": "vllm/vllm-tpu:latest",
}
_HOST_PORT = 8000
_JOB_PORT = 29500


def resource_of(family: str) -> str:
    """What Kubernetes calls a chip of a family. Raises InputError for a family without a public device plugin."""
    if family not in _RESOURCES:
        raise InputError(f"k8s: chips of family {family} have no public device plugin. Use vllm.")
    return _RESOURCES[family]


def _name(each: Serving) -> str:
    """A name that Kubernetes takes (RFC 1123 label)."""
    name = "".join(letter if letter.isalnum() else "-" for letter in each.model.id.lower())
    return "-".join(part for part in (name[:50].strip("-"), each.role) if part)


def _arguments(each: Serving) -> list[str]:
    return [word for text in vllm_words(each) for word in shlex.split(text)]


def _documents(comments: list[str], objects: list[dict[str, Any]]) -> str:
    import yaml

    texts = [yaml.safe_dump(each, sort_keys=False, allow_unicode=True, width=1000).rstrip() for each in objects]
    return "\n".join([*comments, "\n---\n".join(texts)])


def k8s(asked: Sequence[Serving]) -> str:
    """A Deployment of vLLM and its Service for each kind of replica, one pod a replica.

    Raises InputError for a replica of several nodes.
    """
    objects: list[dict[str, Any]] = []
    for each in asked:
        if each.nodes > 1:
            raise InputError(
                f"k8s: a replica takes {each.nodes} nodes of {each.node_chips} chips, and a pod has one. Use dynamo or slurm."
            )
        name = _name(each)
        objects += [_deployment(each, name), _service(name)]
    image = [] if asked[0].family in _IMAGES else [f"# IMAGE: your vendor's of vLLM for {asked[0].family}"]
    return _documents([*unsaid(asked), *image], objects)


def _deployment(each: Serving, name: str) -> dict[str, Any]:
    container = {
        "name": "vllm",
        "image": _IMAGES.get(each.family, "${IMAGE}"),
        "args": [each.model.id, *_arguments(each)],
        "ports": [{"containerPort": _HOST_PORT}],
        "resources": {"limits": {resource_of(each.family): each.chips}},
        "volumeMounts": [{"name": "shm", "mountPath": "/dev/shm"}],
    }
    pod = {"containers": [container], "volumes": [{"name": "shm", "emptyDir": {"medium": "Memory"}}]}
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": name},
        "spec": {
            "replicas": each.replicas,
            "selector": {"matchLabels": {"app": name}},
            "template": {"metadata": {"labels": {"app": name}}, "spec": pod},
        },
    }


def _service(name: str) -> dict[str, Any]:
    ports = [{"port": 80, "targetPort": _HOST_PORT}]
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": name},
        "spec": {"selector": {"app": name}, "ports": ports},
    }


def dynamo(asked: Sequence[Serving]) -> str:
    """A DynamoGraphDeployment: a frontend, and workers of vLLM. Raises InputError for chips that Dynamo's operator does not place."""
    if asked[0].family != "gpu":
        raise InputError(f"dynamo: its operator places GPUs, not chips of family {asked[0].family}. Use k8s or vllm.")
    image = "nvcr.io/nvidia/ai-dynamo/vllm-runtime:${VERSION}"
    front = {"componentType": "frontend", "replicas": 1, "extraPodSpec": {"mainContainer": {"image": image}}}
    services: dict[str, Any] = {"Frontend": front}
    for each in asked:
        services[f"Vllm{each.role.capitalize()}Worker"] = _worker(each, image)
    graph = {
        "apiVersion": "nvidia.com/v1alpha1",
        "kind": "DynamoGraphDeployment",
        "metadata": {"name": _name(asked[0]._replace(role=""))},
        "spec": {"services": services},
    }
    return _documents([*unsaid(asked), "# VERSION: the release of Dynamo that runs in your cluster"], [graph])


def _worker(each: Serving, image: str) -> dict[str, Any]:
    flags = _arguments(each._replace(role=""))
    flags += [f"--is-{each.role}-worker"] if each.role else []
    container = {
        "image": image,
        "command": ["python3", "-m", "dynamo.vllm"],
        "args": ["--model", each.model.id, *flags],
    }
    return {
        "componentType": "worker",
        **({"subComponentType": each.role} if each.role else {}),
        "replicas": each.replicas,
        **({"multinode": {"nodeCount": each.nodes}} if each.nodes > 1 else {}),
        "resources": {"limits": {"gpu": str(min(each.chips, each.node_chips))}},
        "extraPodSpec": {"mainContainer": container},
    }


def slurm(asked: Sequence[Serving]) -> str:
    """An array job of Slurm: a task a replica, each `vllm serve` over the nodes of its job. Raises InputError for replicas of
    different sizes, which one array cannot hold."""
    sizes = {(each.nodes, min(each.chips, each.node_chips)) for each in asked}
    if len(sizes) > 1:
        raise InputError("slurm: prefill and decode replicas differ in chips. Give two scenarios, one for each.")
    ((nodes, chips),) = sizes
    count = sum(each.replicas for each in asked)
    lines = [
        *_directives(_name(asked[0]._replace(role="")), nodes, chips, nodes > 1),
        f"#SBATCH --array=0-{count - 1}",
        "",
    ]
    lines += [*unsaid(asked), *_rendezvous(), ""]
    first = 0
    for each in asked:
        words = [f"vllm serve {each.model.id}", *vllm_words(each), *_spanning(nodes)]
        last = first + each.replicas - 1
        lines += [head(each), f"if ((SLURM_ARRAY_TASK_ID >= {first} && SLURM_ARRAY_TASK_ID <= {last})); then"]
        lines += ["replica() {", "  " + " \\\n    ".join(words), "}", "fi"]
        first = last + 1
    return "\n".join([*lines, "export -f replica", "srun bash -c replica"])


def _spanning(nodes: int) -> list[str]:
    """What vLLM is told of the other nodes; only the first answers requests."""
    if nodes == 1:
        return []
    headless = "$( ((SLURM_NODEID > 0)) && echo --headless)"
    return [f"--nnodes {nodes}", '--node-rank "$SLURM_NODEID"', '--master-addr "$MASTER_ADDR"', headless]


def _directives(name: str, nodes: int, chips: int, whole: bool) -> list[str]:
    return [
        "#!/bin/bash",
        f"#SBATCH --job-name={name}",
        f"#SBATCH --nodes={nodes}",
        "#SBATCH --ntasks-per-node=1",
        f"#SBATCH --gpus-per-node={chips}",
        *(["#SBATCH --exclusive"] if whole else []),
    ]


def _rendezvous() -> list[str]:
    return ['export MASTER_ADDR=$(scontrol show hostnames "$SLURM_JOB_NODELIST" | head -n 1)']


def slurm_training(name: str, nodes: int, chips: int, arguments: str) -> str:
    """A batch script of a training job: `torchrun` on every node with the arguments of Megatron-LM's pretrain_gpt.py."""
    comments = [line for line in arguments.splitlines() if line.startswith("#")]
    flags = [line for line in arguments.splitlines() if not line.startswith("#")]
    launcher = [
        "srun torchrun",
        f'--nnodes "$SLURM_NNODES" --nproc_per_node {chips}',
        '--rdzv_id "$SLURM_JOB_ID" --rdzv_backend c10d',
        f'--rdzv_endpoint "$MASTER_ADDR:{_JOB_PORT}"',
        "pretrain_gpt.py",
    ]
    job = " \\\n  ".join([*launcher, *(line.removesuffix(" \\") for line in flags)])
    return "\n".join([*_directives(name, nodes, chips, True), "", *comments, *_rendezvous(), "", job])


ENGINES: dict[str, Callable[[Sequence[Serving]], str]] = {
    "vllm": vllm,
    "sglang": sglang,
    "trtllm": trtllm,
    "k8s": k8s,
    "dynamo": dynamo,
    "slurm": slurm,
    "neuron": neuron,
}
ENDINGS = {"k8s": ".yaml", "dynamo": ".yaml", "slurm": ".sh"}


def launch_serving(engine: str, asked: Sequence[Serving]) -> str:
    """The launch by one engine as text, of one kind of replica or of two. Raises InputError for an engine that is not known."""
    if engine not in ENGINES:
        raise InputError(f"--emit = {engine!r} is no serving engine. Use {', '.join(ENGINES)}.")
    return ENGINES[engine](asked)
