// @tus/server behind mutual TLS on loopback: node server.js PORT FOLDER CA CERTIFICATE KEY
import fs from "node:fs";
import https from "node:https";
import { Server } from "@tus/server";
import { FileStore } from "@tus/file-store";

const [port, folder, ca, certificate, key] = process.argv.slice(2);
fs.mkdirSync(folder, { recursive: true });
const tus = new Server({ path: "/files", datastore: new FileStore({ directory: folder }) });
const options = {
  ca: fs.readFileSync(ca),
  cert: fs.readFileSync(certificate),
  key: fs.readFileSync(key),
  requestCert: true,
  rejectUnauthorized: true,
};
https.createServer(options, tus.handle.bind(tus)).listen(Number(port), "127.0.0.1");
