"""Go types from schemas/asyncapi.yaml read and write every golden file."""

from kit.bring import go, go_environment, run
from kit.contract import generate, round_trip, schemas

PROGRAM = """package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"os"
)

type question struct {
	Type string          `json:"type"`
	Body json.RawMessage `json:"body"`
}

var types = map[string]func() any{
%s}

func main() {
	lines := bufio.NewScanner(os.Stdin)
	for lines.Scan() {
		var asked question
		if err := json.Unmarshal(lines.Bytes(), &asked); err != nil {
			panic(err)
		}
		body := types[asked.Type]()
		if err := json.Unmarshal(asked.Body, body); err != nil {
			panic(err)
		}
		written, err := json.Marshal(body)
		if err != nil {
			panic(err)
		}
		fmt.Println(string(written))
	}
}
"""


def check(world):
    folder = world.scratch("go")
    types = generate("go")
    for name, text in types.items():
        (folder / f"{name.lower()}.go").write_text(text, "utf-8")
    structs = [name for name, text in types.items() if f"type {name} struct" in text and name in schemas()]
    rows = "".join(f'\t"{name}": func() any {{ return new({name}) }},\n' for name in structs)
    (folder / "main.go").write_text(PROGRAM % rows, "utf-8")
    (folder / "go.mod").write_text("module contract\n\ngo 1.24\n", "utf-8")
    run([go(), "build", "-o", "contract", "."], cwd=folder, env=go_environment(), timeout=600)
    round_trip([folder / "contract"])
