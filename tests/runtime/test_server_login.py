"""Who a worker says it is to the tracking server."""

import base64

import pytest

from runtime.server_login import authorization

NAMES = ("MLFLOW_TRACKING_URI", "MLFLOW_TRACKING_USERNAME", "MLFLOW_TRACKING_PASSWORD", "MLFLOW_TRACKING_TOKEN")


@pytest.fixture
def variables(monkeypatch):
    def give(*values):
        for name, value in zip(NAMES, values, strict=True):
            monkeypatch.setenv(name, value) if value else monkeypatch.delenv(name, raising=False)

    return give


def test_user_and_password_go_to_the_tracking_server_alone(variables):
    """Its scheme, host and port; a missing port is the scheme's own."""
    variables("https://ml.example", "ada", "secret", "")
    expected = f"Basic {base64.b64encode(b'ada:secret').decode()}"
    assert authorization("https://ml.example:443/api/x") == expected
    for other in ("https://evil.example/api/x", "http://ml.example/x", "https://ml.example:8443/x"):
        assert authorization(other) is None


def test_a_token_is_sent_where_there_is_no_user(variables):
    variables("https://ml.example", "", "", "abc")
    assert authorization("https://ml.example/x") == "Bearer abc"
    variables("https://ml.example", "", "", "")
    assert authorization("https://ml.example/x") is None
    variables("", "ada", "secret", "")
    assert authorization("https://ml.example/x") is None
