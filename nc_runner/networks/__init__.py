"""The networks: three published families, and custom networks built from the settings."""

from nc_runner.networks.build import Network, build_network, start_from
from nc_runner.networks.densenets import densenet
from nc_runner.networks.heads import LastLayer
from nc_runner.networks.resnets import resnet
from nc_runner.networks.vggs import vgg

__all__ = ["LastLayer", "Network", "build_network", "densenet", "resnet", "start_from", "vgg"]
