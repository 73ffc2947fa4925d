"""C# types from schemas/asyncapi.yaml read and write every golden file."""

import shutil

from kit.bring import Skipped, run
from kit.contract import generate, round_trip

PROJECT = """<Project Sdk="Microsoft.NET.Sdk">
  <PropertyGroup>
    <OutputType>Exe</OutputType><TargetFramework>net%s</TargetFramework><LangVersion>latest</LangVersion>
    <Nullable>annotations</Nullable><ImplicitUsings>enable</ImplicitUsings>
  </PropertyGroup>
</Project>"""
PROGRAM = """using System.Text.Json;
using System.Text.Json.Serialization;
var options = new JsonSerializerOptions { DefaultIgnoreCondition = JsonIgnoreCondition.WhenWritingNull };
for (string? line; (line = Console.ReadLine()) is not null;) {
  using var asked = JsonDocument.Parse(line);
  var type = Type.GetType("Contract." + asked.RootElement.GetProperty("type").GetString(), true)!;
  var body = asked.RootElement.GetProperty("body").Deserialize(type, options);
  Console.WriteLine(JsonSerializer.Serialize(body, type, options));
}
"""


def check(world):
    # Names and words are checked wherever there is Node.js; the rest where there is a compiler.
    types = generate("csharp")
    dotnet = shutil.which("dotnet")
    if not dotnet:
        raise Skipped("dotnet is missing, no registry here has it; the types have their names and every word")
    folder = world.scratch("csharp")
    for name, text in types.items():
        (folder / f"{name}.cs").write_text(text, "utf-8")
    version = ".".join(run([dotnet, "--version"]).stdout.split(".")[:2])
    (folder / "Peers.csproj").write_text(PROJECT % version, "utf-8")
    (folder / "Program.cs").write_text(PROGRAM, "utf-8")
    run([dotnet, "build", "--nologo", "-o", folder / "out", folder], timeout=900)
    round_trip([folder / "out" / "Peers"])
