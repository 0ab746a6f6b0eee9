// Plays an MP4 in Chromium and prints what is seen: play.js FILE SPEED
// For each picture: its number, read from the strip of bits along the upper edge (tests/footage.py), and its time in µs.
import { createReadStream, statSync } from "node:fs";
import { createServer } from "node:http";
import { chromium } from "playwright-core";

const [file, rate] = process.argv.slice(2);
const size = statSync(file).size;
const server = createServer((request, response) => {
  if (request.url !== "/clip.mp4") {
    response.writeHead(200, { "Content-Type": "text/html" }).end("<video muted></video><canvas></canvas>");
    return;
  }
  const [start, end] = (request.headers.range ?? "bytes=0-").slice(6).split("-");
  const first = Number(start);
  const last = end ? Number(end) : size - 1;
  response.writeHead(206, {
    "Content-Type": "video/mp4",
    "Content-Length": last - first + 1,
    "Content-Range": `bytes ${first}-${last}/${size}`,
    "Accept-Ranges": "bytes",
  });
  createReadStream(file, { start: first, end: last }).pipe(response);
});
await new Promise((ready) => server.listen(0, "127.0.0.1", ready));

const browser = await chromium.launch({ executablePath: "/usr/bin/chromium", args: ["--no-sandbox"] });
try {
  const page = await browser.newPage();
  await page.goto(`http://127.0.0.1:${server.address().port}/`);
  const seen = await page.evaluate(
    async (rate) => {
      const video = document.querySelector("video");
      const once = (name) =>
        new Promise((resolve, reject) => {
          video.addEventListener(name, resolve, { once: true });
          video.addEventListener("error", () => reject(new Error(video.error.message)), { once: true });
        });
      const canvas = document.querySelector("canvas");
      const context = canvas.getContext("2d", { willReadFrequently: true });
      const seen = [];
      const look = (_, { mediaTime, width, height }) => {
        if (canvas.width !== width || canvas.height !== height) [canvas.width, canvas.height] = [width, height];
        context.drawImage(video, 0, 0);
        let number = 0;
        for (let bit = 0; bit < 16; bit += 1) {
          if (context.getImageData(bit * 8 + 4, 8, 1, 1).data[1] > 128) number |= 1 << bit;
        }
        const at = Math.round(mediaTime * 1e6);
        if (seen.at(-1)?.[1] !== at) seen.push([number, at]);
        video.requestVideoFrameCallback(look);
      };
      // Before the clip is there: a busy machine shows the first picture before anybody looks.
      video.requestVideoFrameCallback(look);
      video.src = "/clip.mp4";
      await once("loadeddata");
      video.playbackRate = rate;
      const ended = once("ended");
      await video.play();
      await ended;
      return { seen, width: video.videoWidth, height: video.videoHeight };
    },
    Number(rate),
  );
  console.log(JSON.stringify(seen));
} finally {
  await browser.close();
  server.close();
}
