"""Java types from schemas/asyncapi.yaml read and write every golden file."""

import shutil

from kit.bring import TOOLS, Skipped, bring, run
from kit.contract import generate, round_trip

JACKSON = "com.fasterxml.jackson.datatype:jackson-datatype-jsr310:2.21.8"  # brings databind
POM = """<project xmlns="http://maven.apache.org/POM/4.0.0">
  <modelVersion>4.0.0</modelVersion><groupId>peers</groupId><artifactId>peers</artifactId><version>1</version>
  <dependencies><dependency>
    <groupId>%s</groupId><artifactId>%s</artifactId><version>%s</version>
  </dependency></dependencies>
</project>"""
PROGRAM = """import com.fasterxml.jackson.annotation.JsonInclude;
import com.fasterxml.jackson.annotation.JsonTypeInfo;
import com.fasterxml.jackson.databind.JavaType;
import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.DeserializationFeature;
import com.fasterxml.jackson.databind.ObjectMapper;
import com.fasterxml.jackson.databind.SerializationFeature;
import com.fasterxml.jackson.databind.cfg.MapperConfig;
import com.fasterxml.jackson.databind.introspect.Annotated;
import com.fasterxml.jackson.databind.introspect.AnnotatedClass;
import com.fasterxml.jackson.databind.introspect.JacksonAnnotationIntrospector;
import com.fasterxml.jackson.databind.jsontype.TypeResolverBuilder;
import java.util.Scanner;

class Main {
  public static void main(String[] none) throws Exception {
    ObjectMapper mapper = new ObjectMapper().findAndRegisterModules();
    // An event's type is in its header. The unions of a channel's bodies would have it guessed from the body's members.
    mapper.setAnnotationIntrospector(new JacksonAnnotationIntrospector() {
      @Override
      public JsonTypeInfo.Value findPolymorphicTypeInfo(MapperConfig<?> config, Annotated annotated) { return null; }

      @Override
      public TypeResolverBuilder<?> findTypeResolver(MapperConfig<?> config, AnnotatedClass of, JavaType type) { return null; }
    });
    mapper.setSerializationInclusion(JsonInclude.Include.NON_NULL);
    mapper.disable(SerializationFeature.WRITE_DATES_AS_TIMESTAMPS);
    mapper.disable(DeserializationFeature.ADJUST_DATES_TO_CONTEXT_TIME_ZONE);
    Scanner lines = new Scanner(System.in, "UTF-8");
    while (lines.hasNextLine()) {
      JsonNode asked = mapper.readTree(lines.nextLine());
      Object body = mapper.treeToValue(asked.get("body"), Class.forName("contract." + asked.get("type").asText()));
      System.out.println(mapper.writeValueAsString(body));
    }
  }
}
"""


def check(world):
    javac, maven = shutil.which("javac"), shutil.which("mvn")
    if not javac or not maven:
        raise Skipped("javac or mvn is missing (Debian: apt-get install default-jdk-headless maven)")
    jars = TOOLS / "java"
    if not list(jars.glob("*jsr310*.jar")):
        jars.mkdir(parents=True, exist_ok=True)
        (jars / "pom.xml").write_text(POM % tuple(JACKSON.split(":")), "utf-8")
        bring("java", [maven, "-q", "-B", "dependency:copy-dependencies", f"-DoutputDirectory={jars}"], cwd=jars)
    folder = world.scratch("java")
    (folder / "contract").mkdir()
    for name, text in generate("java").items():
        (folder / "contract" / f"{name}.java").write_text(text, "utf-8")
    (folder / "Main.java").write_text(PROGRAM, "utf-8")
    path = f"{jars}/*:{folder}"
    run([javac, "-cp", path, "-d", folder, *folder.glob("contract/*.java"), folder / "Main.java"], timeout=600)
    round_trip([shutil.which("java"), "-cp", path, "Main"])
