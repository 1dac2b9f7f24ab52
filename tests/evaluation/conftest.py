from tests.measuring import lab

__all__ = ["lab"]
