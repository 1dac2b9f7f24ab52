"""Reads what the system knows of its users and its log."""
# defence: not mounted; not granted by Landlock
# holds from: landlock


def attack(host):
    return host.read("/etc/passwd", "/etc/hostname", "/var/log/dpkg.log", "/proc/1/root/etc/passwd")[:80]
