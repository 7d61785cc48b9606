"""install compose|kubernetes: several gateways with Redis and PostgreSQL, as text.

    compose(place)         a compose file: gateways behind nginx, with what they share
    kubernetes(place)      manifests of the same: StatefulSets, Services, probes
    *_steps(place)         what to do with it

Nothing in them is a secret: passwords and keys come from an environment file, or from a Secret that a step makes.
"""

from __future__ import annotations

import shlex
from textwrap import indent
from typing import Protocol

from ..config.sources import OVERLAY_VARIABLE

REPLICAS = 2
POSTGRES, REDIS, NGINX = "docker.io/library/postgres:17", "docker.io/library/redis:7.4", "docker.io/library/nginx:1.28"
IMAGE = "llm-router:cluster"
SPILL = "spill.db"
# Redis holds what is leased for seconds and can be lost at any time: nothing of it is written to a disk, nothing is evicted.
REDIS_WORDS = ("redis-server", "--save", "", "--appendonly", "no", "--maxmemory-policy", "noeviction")
PRE_STOP_S = 5  # until no balancer sends new connections to a pod that ends


class Site(Protocol):
    """What the files are made for: `install.Place`."""

    @property
    def port(self) -> int: ...
    @property
    def stop_s(self) -> int: ...


def flow_list(words: tuple[str, ...]) -> str:
    return "[" + ", ".join(f'"{word}"' for word in words) + "]"


# ------------------------------------------------------------------------------------------------------------- compose


def nginx_conf(port: int) -> str:
    """Streams pass at once; a gateway that is not there is passed over, and nothing that was sent is sent again."""
    return f"""\
events {{ worker_connections 8192; }}
http {{
  access_log off;
  resolver 127.0.0.11 valid=2s;
  upstream gateways {{
    zone gateways 64k;
    server gateway:{port} resolve max_fails=0;
    keepalive 64;
  }}
  server {{
    listen {port};
    client_max_body_size 32m;
    location / {{
      proxy_pass http://gateways;
      proxy_http_version 1.1;
      proxy_set_header Connection "";
      proxy_set_header Host $http_host;
      proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;
      proxy_buffering off;
      proxy_request_buffering off;
      proxy_read_timeout 1h;
      proxy_next_upstream error;
    }}
  }}
}}
""".replace("$", "$$")  # which compose would take for variables of its own


def stores() -> str:
    """What the gateways share."""
    words = " ".join(shlex.quote(word) for word in REDIS_WORDS)
    return f"""\
  postgres:
    image: {POSTGRES}
    environment:
      POSTGRES_USER: llm_router
      POSTGRES_DB: llm_router
      POSTGRES_PASSWORD: ${{POSTGRES_PASSWORD:?write it into .env}}
    volumes: [postgres:/var/lib/postgresql/data]
    healthcheck:
      test: ["CMD", "pg_isready", "-U", "llm_router", "-d", "llm_router"]
      interval: 5s
      timeout: 3s
      retries: 12
    stop_grace_period: 60s
    restart: unless-stopped

  redis:
    image: {REDIS}
    command: ["sh", "-c", "exec {words} --requirepass \\"$$REDIS_PASSWORD\\""]
    environment:
      REDIS_PASSWORD: ${{REDIS_PASSWORD:?write it into .env}}
    healthcheck:
      test: ["CMD-SHELL", "REDISCLI_AUTH=\\"$$REDIS_PASSWORD\\" redis-cli ping | grep -q PONG"]
      interval: 5s
      timeout: 3s
      retries: 12
    restart: unless-stopped

"""


def compose(place: Site, containerfile: str, context: str, config: str, state: str) -> str:
    """The compose file."""
    built = indent(containerfile, " " * 8).rstrip()
    return f"""\
# compose.yaml: printed by `llm-router-gateway install compose`. Docker Compose 2.24 or newer.
name: llm-router

services:
  gateway:
    image: {IMAGE}
    build:
      context: {json_text(context)}
      dockerfile_inline: |
{built}
    deploy:
      replicas: {REPLICAS}
    environment:
      LLM_ROUTER_STORE: postgresql://llm_router:${{POSTGRES_PASSWORD:?write it into .env}}@postgres:5432/llm_router
      LLM_ROUTER_STATE_URL: redis://:${{REDIS_PASSWORD:?write it into .env}}@redis:6379/0
      # Calls wait here while PostgreSQL is away. Gateways on one volume take a file each.
      LLM_ROUTER_SPILL_FILE: {state}/{SPILL}
      {OVERLAY_VARIABLE}: {state}/router.overlay.json
    # LLM_ROUTER_TOKEN, LLM_ROUTER_ADMIN_TOKEN and the keys of providers, one NAME=value a line.
    env_file: [gateway.env]
    volumes:
      - type: bind
        source: {json_text(config)}
        target: /etc/llm-router/router.toml
        read_only: true
      - state:{state}
    depends_on:
      postgres: {{condition: service_healthy}}
      redis: {{condition: service_healthy}}
    read_only: true
    tmpfs: [/tmp]
    cap_drop: [ALL]
    security_opt: ["no-new-privileges:true"]
    stop_grace_period: {place.stop_s}s
    restart: unless-stopped

  proxy:
    image: {NGINX}
    configs:
      - source: nginx
        target: /etc/nginx/nginx.conf
    ports: ["127.0.0.1:{place.port}:{place.port}"]
    depends_on:
      gateway: {{condition: service_healthy}}
    restart: unless-stopped

{stores()}configs:
  nginx:
    content: |
{indent(nginx_conf(place.port), " " * 6).rstrip()}

volumes:
  state:
  postgres:
"""


def json_text(text: str) -> str:
    """A path as YAML takes it, whatever is in it; `$` would be a variable."""
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"').replace("$", "$$") + '"'


def compose_steps(place: Site) -> list[str]:
    return [
        "put it into compose.yaml in a folder of its own",
        "for name in POSTGRES REDIS; do echo ${name}_PASSWORD=$(openssl rand -hex 16); done > .env && chmod 600 .env",
        "write LLM_ROUTER_TOKEN, LLM_ROUTER_ADMIN_TOKEN and the keys of providers into gateway.env, mode 600",
        f"docker compose up -d --build --wait && curl -s http://127.0.0.1:{place.port}/health/ready",
        "docker compose up -d --scale gateway=4    # more gateways; nginx finds them within seconds",
        "an existing store: `store copy --from sqlite:FILE` in a container of the image, with the same environment",
    ]


# ---------------------------------------------------------------------------------------------------------- kubernetes

SECURITY = """\
          securityContext:
            allowPrivilegeEscalation: false
            readOnlyRootFilesystem: true
            capabilities: {drop: [ALL]}
"""


def from_secret(*names: str) -> str:
    """Variables of a container that the Secret holds."""
    return "".join(
        f"            - name: {name}\n              valueFrom: {{secretKeyRef: {{name: llm-router-stores, key: {name}}}}}\n"
        for name in names
    )


def kubernetes(place: Site, uid: int, state: str) -> str:
    """The manifests, each behind `---`."""
    parts = [services(place), gateways(place, uid, state), postgres(), redis()]
    return "# printed by `llm-router-gateway install kubernetes`\n" + "---\n".join(parts)


def services(place: Site) -> str:
    return f"""\
apiVersion: v1
kind: Service
metadata: {{name: llm-router, labels: {{app: llm-router}}}}
spec:
  selector: {{app: llm-router}}
  ports: [{{name: http, port: {place.port}, targetPort: http}}]
---
apiVersion: v1
kind: Service
metadata: {{name: llm-router-pods, labels: {{app: llm-router}}}}
spec:
  clusterIP: None
  selector: {{app: llm-router}}
  ports: [{{name: http, port: {place.port}, targetPort: http}}]
---
apiVersion: v1
kind: Service
metadata: {{name: llm-router-postgres}}
spec:
  selector: {{app: llm-router-postgres}}
  ports: [{{name: postgres, port: 5432, targetPort: postgres}}]
---
apiVersion: v1
kind: Service
metadata: {{name: llm-router-redis}}
spec:
  selector: {{app: llm-router-redis}}
  ports: [{{name: redis, port: 6379, targetPort: redis}}]
---
apiVersion: policy/v1
kind: PodDisruptionBudget
metadata: {{name: llm-router}}
spec:
  maxUnavailable: 1
  selector: {{matchLabels: {{app: llm-router}}}}
"""


def gateways(place: Site, uid: int, state: str) -> str:
    """A StatefulSet, so that calls that wait for PostgreSQL are still there when a pod comes back."""
    return f"""\
apiVersion: apps/v1
kind: StatefulSet
metadata: {{name: llm-router, labels: {{app: llm-router}}}}
spec:
  replicas: {REPLICAS}
  serviceName: llm-router-pods
  podManagementPolicy: Parallel
  selector: {{matchLabels: {{app: llm-router}}}}
  template:
    metadata: {{labels: {{app: llm-router}}}}
    spec:
      automountServiceAccountToken: false
      enableServiceLinks: false
      terminationGracePeriodSeconds: {place.stop_s + PRE_STOP_S}
      securityContext:
        runAsNonRoot: true
        runAsUser: {uid}
        runAsGroup: {uid}
        fsGroup: {uid}
        seccompProfile: {{type: RuntimeDefault}}
      topologySpreadConstraints:
        - maxSkew: 1
          topologyKey: kubernetes.io/hostname
          whenUnsatisfiable: ScheduleAnyway
          labelSelector: {{matchLabels: {{app: llm-router}}}}
      containers:
        - name: gateway
          image: {IMAGE}
          ports: [{{name: http, containerPort: {place.port}}}]
          envFrom: [{{secretRef: {{name: llm-router-keys}}}}]
          env:
            - {{name: LLM_ROUTER_PORT, value: "{place.port}"}}
            - {{name: LLM_ROUTER_SPILL_FILE, value: {state}/{SPILL}}}
            - {{name: {OVERLAY_VARIABLE}, value: {state}/router.overlay.json}}
{from_secret("POSTGRES_PASSWORD", "REDIS_PASSWORD")}\
            - name: LLM_ROUTER_STORE
              value: postgresql://llm_router:$(POSTGRES_PASSWORD)@llm-router-postgres:5432/llm_router
            - name: LLM_ROUTER_STATE_URL
              value: redis://:$(REDIS_PASSWORD)@llm-router-redis:6379/0
          volumeMounts:
            - {{name: config, mountPath: /etc/llm-router, readOnly: true}}
            - {{name: state, mountPath: {state}}}
            - {{name: tmp, mountPath: /tmp}}
          startupProbe: {{httpGet: {{path: /health/live, port: http}}, periodSeconds: 1, failureThreshold: 60}}
          livenessProbe: {{httpGet: {{path: /health/live, port: http}}, periodSeconds: 10, timeoutSeconds: 5}}
          readinessProbe: {{httpGet: {{path: /health/ready, port: http}}, periodSeconds: 2, timeoutSeconds: 2}}
          # The Service needs a moment to send nothing more here.
          lifecycle: {{preStop: {{exec: {{command: [sleep, "{PRE_STOP_S}"]}}}}}}
          resources: {{requests: {{cpu: 500m, memory: 128Mi}}, limits: {{memory: 1Gi}}}}
{SECURITY}\
      volumes:
        - {{name: config, configMap: {{name: llm-router-config}}}}
        - {{name: tmp, emptyDir: {{}}}}
  volumeClaimTemplates:
    - metadata: {{name: state}}
      spec: {{accessModes: [ReadWriteOnce], resources: {{requests: {{storage: 2Gi}}}}}}
"""


def postgres() -> str:
    """One server; take an operator's or a managed one for anything that must not stop with a machine."""
    check = "exec: {command: [pg_isready, -U, llm_router, -d, llm_router]}"
    starting, ready = (
        f"{{{check}, periodSeconds: 2, failureThreshold: 60}}",
        f"{{{check}, periodSeconds: 5, timeoutSeconds: 3}}",
    )
    return f"""\
apiVersion: apps/v1
kind: StatefulSet
metadata: {{name: llm-router-postgres}}
spec:
  replicas: 1
  serviceName: llm-router-postgres
  selector: {{matchLabels: {{app: llm-router-postgres}}}}
  template:
    metadata: {{labels: {{app: llm-router-postgres}}}}
    spec:
      automountServiceAccountToken: false
      terminationGracePeriodSeconds: 60
      securityContext:
        runAsNonRoot: true
        runAsUser: 999
        runAsGroup: 999
        fsGroup: 999
        seccompProfile: {{type: RuntimeDefault}}
      containers:
        - name: postgres
          image: {POSTGRES}
          ports: [{{name: postgres, containerPort: 5432}}]
          env:
            - {{name: POSTGRES_USER, value: llm_router}}
            - {{name: POSTGRES_DB, value: llm_router}}
            - {{name: PGDATA, value: /var/lib/postgresql/data/pgdata}}
{from_secret("POSTGRES_PASSWORD")}\
          volumeMounts:
            - {{name: data, mountPath: /var/lib/postgresql/data}}
            - {{name: run, mountPath: /var/run/postgresql}}
            - {{name: tmp, mountPath: /tmp}}
          startupProbe: {starting}
          readinessProbe: {ready}
          livenessProbe: {ready}
          resources: {{requests: {{cpu: 500m, memory: 512Mi}}, limits: {{memory: 2Gi}}}}
{SECURITY}\
      volumes:
        - {{name: run, emptyDir: {{}}}}
        - {{name: tmp, emptyDir: {{}}}}
  volumeClaimTemplates:
    - metadata: {{name: data}}
      spec:
        accessModes: [ReadWriteOnce]
        resources: {{requests: {{storage: 20Gi}}}}
"""


def redis() -> str:
    """Without a disk: what it loses is restored from PostgreSQL."""
    words = REDIS_WORDS + ("--requirepass", "$(REDIS_PASSWORD)")
    ready = """{exec: {command: [sh, -c, 'REDISCLI_AUTH="$REDIS_PASSWORD" redis-cli ping | grep -q PONG']}, periodSeconds: 5}"""
    return f"""\
apiVersion: apps/v1
kind: Deployment
metadata: {{name: llm-router-redis}}
spec:
  replicas: 1
  strategy: {{type: Recreate}}
  selector: {{matchLabels: {{app: llm-router-redis}}}}
  template:
    metadata: {{labels: {{app: llm-router-redis}}}}
    spec:
      automountServiceAccountToken: false
      securityContext:
        runAsNonRoot: true
        runAsUser: 999
        runAsGroup: 999
        seccompProfile: {{type: RuntimeDefault}}
      containers:
        - name: redis
          image: {REDIS}
          command: {flow_list(words)}
          ports: [{{name: redis, containerPort: 6379}}]
          env:
{from_secret("REDIS_PASSWORD")}\
          volumeMounts: [{{name: data, mountPath: /data}}]
          readinessProbe: {ready}
          livenessProbe: {ready}
          resources: {{requests: {{cpu: 100m, memory: 64Mi}}, limits: {{memory: 512Mi}}}}
{SECURITY}\
      volumes: [{{name: data, emptyDir: {{}}}}]
"""


def kubernetes_steps(place: Site, context: str, config: str) -> list[str]:
    random = "$(openssl rand -hex 16)"
    image = f"llm-router-gateway install container --cluster | docker build -t {IMAGE} -f - {shlex.quote(context)}"
    stores = f"--from-literal=POSTGRES_PASSWORD={random} --from-literal=REDIS_PASSWORD={random}"
    return [
        f"{image}    # push it to your registry and write its name into the manifests",
        f"kubectl create configmap llm-router-config --from-file=router.toml={shlex.quote(config)}",
        f"kubectl create secret generic llm-router-stores {stores}",
        "write LLM_ROUTER_TOKEN, LLM_ROUTER_ADMIN_TOKEN and the keys of providers into gateway.env, one NAME=value a line",
        "kubectl create secret generic llm-router-keys --from-env-file=gateway.env",
        "kubectl apply -f llm-router.yaml && kubectl rollout status statefulset/llm-router",
        f"kubectl port-forward service/llm-router {place.port}    # and: kubectl scale statefulset/llm-router --replicas 4",
    ]
