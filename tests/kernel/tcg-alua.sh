#!/bin/bash
# uml-alua.sh where the kernel has a device handler for access states (scsi_dh_alua)
# lab: -u -c 2
ALUA_SLOW=4 exec "$(dirname "$0")/uml-alua.sh"
