"""The view of a graph, live, with a JSON API beside it: `app.application`. Extra `serve`."""
