// Runs the kubelet's own code for credential providers (k8s.io/kubernetes/pkg/credentialprovider/plugin, unmodified) against a
// Waybill that it starts: two service accounts of one node get different logins, a third gets none, and each of their
// questions is in the log. Tokens and the JWK set come from the API server's own code (k8s.io/kubernetes/pkg/serviceaccount).
//
//	go run . -bin ../../../target/debug
//
// Prints PASS, or FAIL and why not. Needs nats-server in PATH.
package main

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/kubernetes/pkg/apis/core"
	"k8s.io/kubernetes/pkg/credentialprovider/plugin"
	"k8s.io/kubernetes/pkg/serviceaccount"
)

const (
	issuer    = "https://kubernetes.default.svc.cluster.local"
	audience  = "waybill"
	provider  = "waybill-credential-provider"
	namespace = "shop"
	image     = "registry.test/team/app"
	patience  = 90 * time.Second
)

// accounts are the service accounts of namespace shop, each with the user that it must get; the third gets none.
var accounts = []struct{ name, user string }{{"web", "user-web"}, {"api", "user-api"}, {"third", ""}}

func main() {
	bin := flag.String("bin", "target/debug", "folder of waybill and "+provider)
	flag.Parse()
	if err := run(*bin); err != nil {
		fmt.Printf("FAIL: %v\n", err)
		os.Exit(1)
	}
	fmt.Println("PASS")
}

func run(bin string) error {
	bin, err := filepath.Abs(bin)
	if err != nil {
		return err
	}
	cluster, err := newCluster()
	if err != nil {
		return fmt.Errorf("a cluster's keys: %w", err)
	}
	// Short, for the name of a Unix socket has at most 107 bytes.
	scratch, err := os.MkdirTemp("", "wk")
	if err != nil {
		return err
	}
	defer os.RemoveAll(scratch)
	w := &waybill{binary: filepath.Join(bin, "waybill"), home: filepath.Join(scratch, "home"), node: filepath.Join(scratch, "node")}
	stop, err := w.start(cluster)
	if err != nil {
		return err
	}
	defer stop()
	for _, account := range accounts[:2] {
		if err := w.place(account.name, account.user); err != nil {
			return err
		}
	}
	if err := register(bin, scratch, filepath.Join(w.node, "waybill.sock"), cluster); err != nil {
		return fmt.Errorf("the kubelet takes no such provider: %w", err)
	}
	for _, account := range accounts {
		if err := lookUp(account.name, account.user); err != nil {
			return err
		}
	}
	return w.awaitFacts()
}

// lookUp asks as the kubelet does before it pulls for a pod.
func lookUp(account, user string) error {
	keyring := plugin.NewExternalCredentialProviderDockerKeyring(namespace, "pod-"+account, "uid-pod-"+account, account)
	found, _ := keyring.Lookup(image)
	if user == "" {
		if len(found) != 0 {
			return fmt.Errorf("service account %s has a login, and should have none", account)
		}
		return nil
	}
	if len(found) != 1 || found[0].Username != user || found[0].Password != password(user) {
		return fmt.Errorf("service account %s has %d logins, and not its own", account, len(found))
	}
	// Whose image it is from then on: no pod of another service account uses it without a login of its own.
	source := found[0].Source
	if source == nil || source.ServiceAccount == nil || source.ServiceAccount.Name != account {
		return fmt.Errorf("the kubelet does not keep the image to service account %s", account)
	}
	return nil
}

func password(user string) string { return "password-of-" + user }

// register hands the kubelet's code a configuration as an operator writes it.
func register(bin, scratch, socket string, cluster *cluster) error {
	config := map[string]any{
		"apiVersion": "kubelet.config.k8s.io/v1",
		"kind":       "CredentialProviderConfig",
		"providers": []any{map[string]any{
			"name":                 provider,
			"apiVersion":           "credentialprovider.kubelet.k8s.io/v1",
			"matchImages":          []string{"registry.test"},
			"defaultCacheDuration": "0s",
			"env":                  []any{map[string]string{"name": "WAYBILL_SOCKET", "value": socket}},
			"tokenAttributes": map[string]any{
				"serviceAccountTokenAudience":          audience,
				"cacheType":                            "ServiceAccount",
				"requireServiceAccount":                true,
				"optionalServiceAccountAnnotationKeys": []string{"waybill.dev/container"},
			},
		}},
	}
	file := filepath.Join(scratch, "credential-provider.json")
	if err := writeJSON(file, config); err != nil {
		return err
	}
	return plugin.RegisterCredentialProviderPlugins(file, bin, cluster.token, cluster.account)
}

// cluster signs tokens as an API server does.
type cluster struct {
	generator serviceaccount.TokenGenerator
	keys      []byte
}

func newCluster() (*cluster, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	generator, err := serviceaccount.JWTTokenGenerator(issuer, key)
	if err != nil {
		return nil, err
	}
	getter, err := serviceaccount.StaticPublicKeysGetter([]any{&key.PublicKey})
	if err != nil {
		return nil, err
	}
	metadata, err := serviceaccount.NewOpenIDMetadataProvider(issuer, issuer+"/openid/v1/jwks", "", getter)
	if err != nil {
		return nil, err
	}
	keys, _ := metadata.GetKeysetJSON()
	return &cluster{generator, keys}, nil
}

func uid(account string) types.UID { return types.UID("uid-" + account) }

// account is the API server's answer to the kubelet: the second account says its container itself.
func (c *cluster) account(namespace, name string) (*corev1.ServiceAccount, error) {
	meta := metav1.ObjectMeta{Namespace: namespace, Name: name, UID: uid(name)}
	if name == "api" {
		meta.Annotations = map[string]string{"waybill.dev/container": "c-api", "other": "is not passed on"}
	}
	return &corev1.ServiceAccount{ObjectMeta: meta}, nil
}

func (c *cluster) token(namespace, name string, asked *authenticationv1.TokenRequest) (*authenticationv1.TokenRequest, error) {
	account := core.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name, UID: asked.UID}}
	bound := asked.Spec.BoundObjectRef
	pod := &core.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: bound.Name, UID: bound.UID}}
	claims, private, err := serviceaccount.Claims(account, pod, nil, nil, nil, nil, 3600, 0, asked.Spec.Audiences, nil)
	if err != nil {
		return nil, err
	}
	token, err := c.generator.GenerateToken(context.Background(), claims, private)
	if err != nil {
		return nil, err
	}
	return &authenticationv1.TokenRequest{Status: authenticationv1.TokenRequestStatus{Token: token}}, nil
}

// waybill is a whole Waybill in a folder of its own.
type waybill struct{ binary, home, node, gateway string }

// start initialises and starts everything, and says how to stop it.
func (w *waybill) start(cluster *cluster) (func(), error) {
	ports, err := freePorts()
	if err != nil {
		return nil, err
	}
	w.gateway = "http://" + ports[1]
	_, health, err := net.SplitHostPort(ports[2])
	if err != nil {
		return nil, err
	}
	initialise := w.command("init", "--workspace", "acme", "--worker", "node-1",
		"--nats-listen", ports[0], "--gateway-listen", ports[1], "--health-port", health)
	if said, err := initialise.CombinedOutput(); err != nil {
		return nil, fmt.Errorf("waybill init: %w: %s", err, said)
	}
	rules := []any{
		map[string]string{"namespace": namespace, "service_account": "web", "workspace": "acme", "container": "c-web"},
		map[string]string{"namespace": namespace, "service_account": "api", "workspace": "acme", "container": "{annotation:waybill.dev/container}"},
	}
	pods := map[string]any{"issuer": issuer, "audience": audience, "keys_file": "jwks.json", "rules": rules}
	if err := os.WriteFile(filepath.Join(w.home, "jwks.json"), cluster.keys, 0o600); err != nil {
		return nil, err
	}
	if err := writeJSON(filepath.Join(w.home, "pods.json"), pods); err != nil {
		return nil, err
	}
	settings, err := os.OpenFile(filepath.Join(w.home, "worker-node-1.env"), os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		return nil, err
	}
	fmt.Fprintf(settings, "WAYBILL_WORKER_NODE_DIR=%s\nWAYBILL_WORKER_POD_IDENTITIES=pods.json\n", w.node)
	if err := settings.Close(); err != nil {
		return nil, err
	}
	output := &bytes.Buffer{}
	dev := w.command("dev")
	dev.Stdout, dev.Stderr = output, output
	if err := dev.Start(); err != nil {
		return nil, err
	}
	ended := make(chan error, 1)
	go func() { ended <- dev.Wait() }()
	stop := func() {
		dev.Process.Signal(os.Interrupt)
		<-ended
	}
	for deadline := time.Now().Add(patience); ; time.Sleep(200 * time.Millisecond) {
		if answer, err := http.Get(w.gateway + "/readyz"); err == nil {
			answer.Body.Close()
			if answer.StatusCode == http.StatusOK {
				return stop, nil
			}
		}
		select {
		case err := <-ended:
			return nil, fmt.Errorf("waybill dev ended: %v: %s", err, output)
		default:
		}
		if time.Now().After(deadline) {
			stop()
			return nil, fmt.Errorf("waybill dev is not ready: %s", output)
		}
	}
}

func (w *waybill) command(arguments ...string) *exec.Cmd {
	return exec.Command(w.binary, append([]string{"--home", w.home}, arguments...)...)
}

// place reports a build and a container of its own for a service account, and waits until the node serves it.
func (w *waybill) place(account, user string) error {
	credentials := map[string]string{"USERNAME": user, "PASSWORD": password(user)}
	build := map[string]any{"workspace": "acme", "image_id": "img-" + account, "existing_image_uri": image + ":" + account, "existing_image_creds": credentials}
	container := map[string]any{"workspace": "acme", "container_id": "c-" + account, "image_id": "img-" + account, "worker_id": "node-1"}
	if err := w.post("/v1/builds", build); err != nil {
		return err
	}
	if err := w.post("/v1/containers", container); err != nil {
		return err
	}
	return await("the access file of c-"+account, func() bool {
		_, err := os.Stat(filepath.Join(w.node, "acme", "c-"+account, "access"))
		return err == nil
	})
}

func (w *waybill) post(path string, body map[string]any) error {
	token, err := os.ReadFile(filepath.Join(w.home, "tokens", "acme.token"))
	if err != nil {
		return err
	}
	text, err := json.Marshal(body)
	if err != nil {
		return err
	}
	request, err := http.NewRequest(http.MethodPost, w.gateway+path, bytes.NewReader(text))
	if err != nil {
		return err
	}
	request.Header.Set("Authorization", "Bearer "+strings.TrimSpace(string(token)))
	request.Header.Set("Content-Type", "application/json")
	answer, err := http.DefaultClient.Do(request)
	if err != nil {
		return err
	}
	defer answer.Body.Close()
	if answer.StatusCode >= 300 {
		said, _ := io.ReadAll(answer.Body)
		return fmt.Errorf("%s answered %s: %s", path, answer.Status, said)
	}
	return nil
}

// awaitFacts waits until each question is in the log, with who asked.
func (w *waybill) awaitFacts() error {
	var said []byte
	err := await("the questions in the log", func() bool {
		said, _ = w.command("events", "--json", "--type", "ContainerLoginAsked", "--type", "NodeLoginAsked").Output()
		return hasFacts(said)
	})
	if err != nil {
		return fmt.Errorf("%w: %s", err, said)
	}
	return nil
}

// hasFacts is true if the log tells of the login of each of the first two accounts, and that the third has no rule.
func hasFacts(lines []byte) bool {
	found := map[string]bool{}
	for _, line := range bytes.Split(lines, []byte("\n")) {
		var event struct {
			Data struct {
				Container string `json:"container_id"`
				Asked     struct {
					Program  string `json:"program"`
					Pid      int    `json:"pid"`
					Reason   string `json:"reason"`
					Identity struct {
						Namespace      string `json:"namespace"`
						ServiceAccount string `json:"service_account"`
					} `json:"identity"`
				} `json:"asked"`
			} `json:"data"`
		}
		if json.Unmarshal(line, &event) != nil {
			continue
		}
		asked := event.Data.Asked
		if asked.Program == provider && asked.Pid > 0 && asked.Identity.Namespace == namespace {
			found[asked.Identity.ServiceAccount+" "+event.Data.Container+" "+asked.Reason] = true
		}
	}
	return found["web c-web "] && found["api c-api "] && found["third  no_rule"]
}

func await(what string, is func() bool) error {
	for deadline := time.Now().Add(patience); time.Now().Before(deadline); time.Sleep(100 * time.Millisecond) {
		if is() {
			return nil
		}
	}
	return fmt.Errorf("no %s after %s", what, patience)
}

// freePorts are addresses for nats-server, the gateway and the scheduler's health; the worker's health has the port after it.
func freePorts() ([]string, error) {
	var held []net.Listener
	defer func() {
		for _, listener := range held {
			listener.Close()
		}
	}()
	var addresses []string
	for len(addresses) < 3 {
		listener, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			return nil, err
		}
		held = append(held, listener)
		if len(addresses) == 2 {
			next, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", listener.Addr().(*net.TCPAddr).Port+1))
			if err != nil {
				continue
			}
			held = append(held, next)
		}
		addresses = append(addresses, listener.Addr().String())
	}
	return addresses, nil
}

func writeJSON(file string, value any) error {
	text, err := json.Marshal(value)
	if err != nil {
		return err
	}
	return os.WriteFile(file, text, 0o600)
}
