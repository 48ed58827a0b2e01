"""How jupyter_client starts a kernel of ours: a fork of the build's nursery. Imported by name, see ``execute``."""

from typing import Any

from jupyter_client.connect import KernelConnectionInfo
from jupyter_client.provisioning.local_provisioner import LocalProvisioner


class Provisioner(LocalProvisioner):
    """Everything as for a local process, but for its start."""

    async def launch_kernel(self, cmd: list[str], **options: Any) -> KernelConnectionInfo:
        """Fork the kernel from the nursery of the manager that asks."""
        manager: Any = self.parent
        forked: Any = manager.nursery.fork(cmd, environment=options["env"], folder=options["cwd"])
        self.process = forked
        self.pid = self.pgid = forked.pid
        self.cwd = options["cwd"]
        return self.connection_info
