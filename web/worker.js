// Python in a worker of the browser: the page stays alive, and what takes too long is ended.
import { loadPyodide } from "./pyodide/pyodide.mjs";

async function start() {
  const python = await loadPyodide({ indexURL: new URL("./pyodide/", import.meta.url).href });
  const wheels = await (await fetch("wheels/list.json")).json();
  for (const name of wheels) {
    const wheel = await (await fetch(`wheels/${name}`)).arrayBuffer();
    python.unpackArchive(wheel, "wheel");
  }
  const source = await (await fetch("live.py")).text();
  python.FS.writeFile("/home/pyodide/live.py", source);
  return python.pyimport("live").answer;
}

const ready = start();
ready.then(
  () => postMessage({ ready: true }),
  (error) => postMessage({ failed: String(error) }),
);

onmessage = async ({ data }) => {
  const answer = await ready;
  postMessage({ id: data.id, answer: JSON.parse(answer(JSON.stringify(data.request))) });
};
