"""Closes its end of the channel and runs on."""
# defence: a worker without a channel is ended
# holds from: process
# ends: invalid

from looper.evaluation import worker


def attack(host):
    worker._channel.close()
    host.wait()
