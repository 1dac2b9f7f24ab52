"""Raises its own limits."""
# defence: hard limits, no capabilities
# holds from: landlock
# needs: CAP_SYS_RESOURCE

import resource


def attack(host):
    def more(kind):
        _, hard = resource.getrlimit(kind)
        resource.setrlimit(kind, (hard + 1000, hard + 1000))
        return "a higher limit"

    def refused(kind):
        try:
            return more(kind)
        except ValueError as error:
            raise PermissionError(1, str(error)) from None

    return host.first(lambda: refused(resource.RLIMIT_NOFILE), lambda: refused(resource.RLIMIT_FSIZE))
