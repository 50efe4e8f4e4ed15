"""Validate an RO-Crate with roc-validator, without a network."""

from __future__ import annotations

import json
import warnings
from importlib.resources import files
from pathlib import Path

import pytest
import requests
from requests.adapters import HTTPAdapter

CRATE_CONTEXT = "https://w3id.org/ro/crate/1.1/context"
TERMS_CONTEXT = "https://w3id.org/ro/terms/workflow-run/context"
# Where the context of RO-Crate 1.1 differs from that of 1.3, which package rocrate brings, in the terms of a workflow.
BIOSCHEMAS = {
    "ComputationalWorkflow": "https://bioschemas.org/ComputationalWorkflow",
    "FormalParameter": "https://bioschemas.org/FormalParameter",
    "input": "https://bioschemas.org/ComputationalWorkflow#input",
    "output": "https://bioschemas.org/ComputationalWorkflow#output",
}


def contexts() -> dict[str, dict[str, str]]:
    """Address -> the JSON-LD context that lies there. sha256 is a term of the second alone."""
    brought = json.loads(files("rocrate").joinpath("data/ro-crate.jsonld").read_text("utf8"))["@context"]
    del brought["sha256"]
    return {
        CRATE_CONTEXT: {**brought, **BIOSCHEMAS},
        TERMS_CONTEXT: {"sha256": "https://w3id.org/ro/terms/workflow-run#sha256"},
    }


def serve_contexts(patch: pytest.MonkeyPatch) -> list[str]:
    """Answer requests for the two contexts, and refuse all others. Returns the refused addresses, as they come."""
    known, refused = contexts(), []

    def send(adapter: HTTPAdapter, request: requests.PreparedRequest, **options: object) -> requests.Response:
        if request.url not in known:
            refused.append(str(request.url))
            raise requests.ConnectionError(f"a test asked for {request.url}")
        response = requests.Response()
        response.status_code, response.url, response.request = 200, str(request.url), request
        response.headers["Content-Type"] = "application/ld+json"
        response._content = json.dumps({"@context": known[request.url]}).encode()
        return response

    patch.setattr(HTTPAdapter, "send", send)
    patch.setenv("ROCRATE_VALIDATOR_AUTO_WARM", "false")
    return refused


def issues(folder: Path, severity: str = "REQUIRED", profile: str = "workflow-run-crate") -> list[str]:
    """What the validator says against the crate in `folder`, of this severity and above, in this profile."""
    from rocrate_validator import services
    from rocrate_validator.models import Severity, ValidationSettings

    settings = ValidationSettings(
        rocrate_uri=str(folder), profile_identifier=profile, requirement_severity=Severity[severity], no_cache=True
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # the validator's own, about rdflib
        result = services.validate(settings)
    assert result.executed_checks and not result.skipped_checks, result.skipped_checks
    return [f"{issue.check.identifier}: {issue.message} ({issue.violatingEntity})" for issue in result.get_issues()]
