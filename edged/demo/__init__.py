"""The bundled scene as a show: a daemon on six cameras, a live view, and a picture at the end."""
