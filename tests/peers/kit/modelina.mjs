// Makes types of schemas/asyncapi.yaml with AsyncAPI's own generator: `node modelina.mjs DOCUMENT LANGUAGE`.
// Answers in JSON: what the official parser has to say of the document, and the source text of each type by its name.
import { readFileSync } from "node:fs";
import { Parser } from "@asyncapi/parser";
import * as modelina from "@asyncapi/modelina";
import { load } from "js-yaml";

const [file, language] = process.argv.slice(2);
const text = readFileSync(file, "utf8");
const { diagnostics } = await new Parser().parse(text);

const go = { presets: [{ preset: modelina.GO_COMMON_PRESET, options: { addJsonTag: true } }] };
const generators = {
  go: () => [new modelina.GoGenerator(go), { packageName: "main" }],
  rust: () => [new modelina.RustGenerator(), {}],
  java: () => [new modelina.JavaGenerator({ presets: [modelina.JAVA_JACKSON_PRESET] }), { packageName: "contract" }],
  python: () => [new modelina.PythonGenerator({ presets: [modelina.PYTHON_PYDANTIC_PRESET] }), {}],
  csharp: () => [
    new modelina.CSharpGenerator({ presets: [modelina.CSHARP_JSON_SERIALIZER_PRESET] }),
    { namespace: "Contract" },
  ],
  typescript: () => [
    new modelina.TypeScriptGenerator({ modelType: "interface", enumType: "union", rawPropertyNames: true }),
    {},
  ],
};
const models = {};
if (language) {
  const [generator, options] = generators[language]();
  const made = await generator.generateCompleteModels(load(text), options);
  // A channel's own union has no name in some languages, and nobody needs it: an event's type is in its header.
  made.filter((model) => model.modelName).forEach((model) => (models[model.modelName] = model.result));
}
console.log(JSON.stringify({ diagnostics, models }));
