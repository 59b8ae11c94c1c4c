"""The cluster for KubeRay has only fields of KubeRay's RayCluster (ray.io/v1, version 1.5.1), and a token."""

from pathlib import Path
from typing import Any

import yaml

CLUSTER: dict[str, Any] = yaml.safe_load(Path("packaging/kuberay.yaml").read_text("utf-8"))
HEAD_AND_WORKERS = {"headGroupSpec", "workerGroupSpecs"}
SPEC = {"authOptions", "autoscalerOptions", "enableInTreeAutoscaling", "rayVersion"} | HEAD_AND_WORKERS
HEAD = {"rayStartParams", "template"}
WORKERS = {"groupName", "maxReplicas", "minReplicas", "rayStartParams", "replicas", "template"}
CONTAINER = {"env", "image", "name", "resources", "securityContext", "volumeMounts"}


def test_it_has_only_fields_of_a_ray_cluster() -> None:
    spec = CLUSTER["spec"]
    assert (CLUSTER["apiVersion"], CLUSTER["kind"], set(spec)) == ("ray.io/v1", "RayCluster", SPEC)
    assert set(spec["headGroupSpec"]) == HEAD
    assert set(spec["autoscalerOptions"]) == {"idleTimeoutSeconds"}
    for group in spec["workerGroupSpecs"]:
        assert set(group) == WORKERS
        assert group["minReplicas"] <= group["replicas"] <= group["maxReplicas"]
    for group in (spec["headGroupSpec"], *spec["workerGroupSpecs"]):
        assert all(isinstance(value, str) for value in group["rayStartParams"].values())
        pod = group["template"]["spec"]
        volumes = {volume["name"] for volume in pod["volumes"]}
        for container in pod["containers"]:
            assert set(container) == CONTAINER
            assert {mount["name"] for mount in container["volumeMounts"]} <= volumes


def test_the_operator_gives_the_token_to_all_containers() -> None:
    """A token in the environment of our containers alone would shut the autoscaler out, which the operator adds."""
    assert CLUSTER["spec"]["authOptions"] == {"mode": "token"}
    major, minor = map(int, CLUSTER["spec"]["rayVersion"].split(".")[:2])
    assert (major, minor) >= (2, 52)


def test_shards_run_on_workers_that_cannot_write() -> None:
    spec = CLUSTER["spec"]
    assert spec["headGroupSpec"]["rayStartParams"]["num-cpus"] == "0"
    for group in spec["workerGroupSpecs"]:
        for container in group["template"]["spec"]["containers"]:
            assert all(mount["readOnly"] for mount in container["volumeMounts"])
