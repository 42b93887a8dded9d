#!/bin/bash
# Run a command on the next host that nobody has taken: next_host.sh FOLDER HOST... -- COMMAND ...
folder=$1
shift
hosts=()
while [ "$1" != -- ]; do
  hosts+=("$1")
  shift
done
mkdir -p "$folder"
shift
for host in "${hosts[@]}"; do
  mkdir "$folder/taken-$host" 2> /dev/null && exec "$(dirname "$(realpath "$0")")/on_host.sh" "$host" "$@"
done
echo "no host is free" >&2
exit 1
