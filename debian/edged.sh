#!/bin/sh
# edged, with the libraries of its package. Commands speak to the service where it runs and this user may speak to it.
if [ -z "${RUNTIME_DIRECTORY:-}" ] && [ "${1:-}" != run ] && [ -S /run/edged/control.sock ]; then
    export RUNTIME_DIRECTORY=/run/edged
fi
exec /usr/lib/edged/bin/python3 -I -m edged "$@"
