#!/usr/bin/env bash
# Write src/mother/views/vendor/ anew: the parts of d3 that the page draws with, in one file.
# Needs node and npm. The same versions give the same bytes.
set -euo pipefail
target="$(cd "$(dirname "$0")/.." && pwd)/src/mother/views/vendor"
work="$(mktemp -d)"
trap 'rm -rf "$work"' EXIT
cd "$work"
cat > package.json <<'JSON'
{
  "private": true,
  "dependencies": {
    "d3-color": "3.1.1",
    "d3-dispatch": "3.0.2",
    "d3-drag": "3.0.1",
    "d3-ease": "3.0.2",
    "d3-hierarchy": "3.1.3",
    "d3-interpolate": "3.0.2",
    "d3-selection": "3.0.1",
    "d3-timer": "3.0.2",
    "d3-transition": "3.0.2",
    "d3-zoom": "3.0.1",
    "esbuild": "0.28.2"
  }
}
JSON
npm install --silent --no-audit --no-fund
cat > entry.js <<'JS'
export { hierarchy, tree } from "d3-hierarchy";
export { select } from "d3-selection";
export { zoom, zoomIdentity } from "d3-zoom";
JS
node_modules/.bin/esbuild entry.js --bundle --minify --format=iife --global-name=d3 \
    --target=es2022 --legal-comments=none --log-level=warning --outfile=d3.min.js
{
    echo "d3.min.js holds the following packages, bundled and minified by scripts/vendor.sh."
    for package in node_modules/d3-*; do
        echo
        echo "== $(basename "$package") $(node -p "require('./$package/package.json').version")"
        echo
        cat "$package/LICENSE"
    done
} > LICENSES.txt
mkdir -p "$target"
cp d3.min.js LICENSES.txt "$target/"
