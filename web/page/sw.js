// Keeps the page for offline use. The server's files are used while it can be reached.
const CACHE = "sit-VERSION";
const FILES = ["./", "index.html", "icon.svg", "manifest.webmanifest", "sit.js?VERSION", "controls.js?VERSION", "sit_bg.wasm?VERSION"];

// The page has just downloaded the files of this version: they are not downloaded again.
const request = (file) => new Request(file, { cache: file.includes("?") ? "force-cache" : "no-cache" });

addEventListener("install", (event) => {
  const keep = caches.open(CACHE).then((cache) => cache.addAll(FILES.map(request)));
  event.waitUntil(keep.then(() => skipWaiting()));
});

addEventListener("activate", (event) => {
  const old = caches.keys().then((keys) => keys.filter((key) => key.startsWith("sit-") && key !== CACHE));
  event.waitUntil(old.then((keys) => Promise.all(keys.map((key) => caches.delete(key)))).then(() => clients.claim()));
});

addEventListener("fetch", (event) => {
  if (event.request.method !== "GET") return;
  const kept = () => caches.match(event.request);
  event.respondWith(fetch(event.request).catch(async (why) => (await kept()) ?? Promise.reject(why)));
});
