// Fails unless AsyncAPI's own parser takes the document: node asyncapi.cjs DOCUMENT
const { readFileSync } = require("node:fs");
const { Parser } = require("@asyncapi/parser");

new Parser().parse(readFileSync(process.argv[2], "utf8")).then(({ document, diagnostics }) => {
  for (const { severity, path, message } of diagnostics) console.log(severity, path.join("."), message);
  process.exitCode = document ? 0 : 1;
});
