#!/bin/bash
# End what rabbit_up.sh started in DIR.
dir=$(realpath -m "$1")
[ -s "$dir/pid" ] && kill "$(cat "$dir/pid")" 2> /dev/null
exit 0
