import { start } from "./dom.js";
start("port", () => {});
