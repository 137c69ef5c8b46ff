"""The networks: three published families, and the door through which any other network comes in."""

from nc_runner.networks.build import Network, build_network
from nc_runner.networks.densenets import densenet
from nc_runner.networks.resnets import resnet
from nc_runner.networks.vggs import vgg

__all__ = ["Network", "build_network", "densenet", "resnet", "vgg"]
