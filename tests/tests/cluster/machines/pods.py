"""Runs the pods of a Kubernetes manifest: each in a separate network with its machine's name, as a user without rights, with
the arguments, variables and files of the manifest. Then it kills, deletes and disconnects pods, and checks the job's output.

    unshare --net --mount python3 pods.py PROGRAM MANIFEST

It needs the rights of root; those of a user namespace are enough. PYTHONPATH has PyYAML. Prints its steps; exits with 0 if all is right.
"""

import json, os, signal, subprocess, sys, time
from pathlib import Path

import yaml

program, manifest = sys.argv[1:]
WITHIN_S = 180
# Whether it can switch to a user other than root.
RIGHTS = Path("/proc/self/uid_map").read_text().split()[2] == "4294967295"
USER = 65532


def run(*command, check=True):
    return subprocess.run(command, check=check, capture_output=True, text=True)


def until(what, happens):
    """Waits until a condition is true. Fails if it takes too long."""
    begin = time.monotonic()
    end = begin + WITHIN_S
    while not (seen := happens()):
        if time.monotonic() > end:
            raise SystemExit(f"pods: {what}: not within {WITHIN_S} s\n" + "\n".join(pod.report() for pod in pods))
        time.sleep(0.1)
    print(f"pods: {what}: {time.monotonic() - begin:.1f} s", flush=True)
    return seen


def things(kind):
    return [thing for thing in documents if thing["kind"] == kind]


documents = list(yaml.safe_load_all(Path(manifest).read_text()))
[config], [service], [replicas] = things("ConfigMap"), things("Service"), things("StatefulSet")
name, spec = replicas["metadata"]["name"], replicas["spec"]["template"]["spec"]
[container] = spec["containers"]
assert replicas["spec"]["serviceName"] == service["metadata"]["name"] and service["spec"]["publishNotReadyAddresses"]
assert replicas["spec"]["podManagementPolicy"] == "Parallel"
port = container["ports"][0]["containerPort"]
assert port == service["spec"]["ports"][0]["port"] and f"--listen=0.0.0.0:{port}" in container["args"]
count = replicas["spec"]["replicas"]
hosts = config["data"]["hosts"].split()
assert hosts == [f"{name}-{number}.{service['metadata']['name']}:{port}" for number in range(count)], hosts

# The following mounts disappear with the mount namespace.
run("mount", "--make-rprivate", "/")
binary = Path(program).resolve()
run("mount", "-t", "tmpfs", "-o", "mode=755", "tmpfs", "/mnt")
for folder in ["bin", "etc", "etc-work", "shared", "pods"]:
    Path("/mnt", folder).mkdir()
Path("/mnt/bin/millstream").touch()
run("mount", "--bind", str(binary), "/mnt/bin/millstream")
run("mount", "-t", "overlay", "overlay", "-o", "lowerdir=/etc,upperdir=/mnt/etc,workdir=/mnt/etc-work", "/etc")
for folder in ["/run", "/home"]:
    run("mount", "-t", "tmpfs", "-o", "mode=755", "tmpfs", folder)
for mount in container["volumeMounts"]:
    Path(mount["mountPath"]).mkdir(parents=True, exist_ok=True)
where = {mount["name"]: Path(mount["mountPath"]) for mount in container["volumeMounts"]}
volumes = {volume["name"]: volume for volume in spec["volumes"]}
for volume, place in where.items():
    if "configMap" in volumes[volume]:
        for file, text in config["data"].items():
            (place / file).write_text(text)
    elif "secret" in volumes[volume]:
        key = place / "cluster.key"
        key.write_text("0123456789abcdef" * 4 + "\n")
        if RIGHTS:
            os.chown(key, 0, spec["securityContext"]["fsGroup"])
        key.chmod(volumes[volume]["secret"]["defaultMode"] if RIGHTS else 0o600)
assert USER == spec["securityContext"]["runAsUser"] == spec["securityContext"]["fsGroup"]
addresses = [f"10.77.0.{10 + number}" for number in range(count)]
Path("/etc/hosts").write_text(
    "127.0.0.1 localhost\n"
    + "".join(f"{address} {host.split(':')[0]}\n" for address, host in zip(addresses, hosts))
)
if RIGHTS:
    os.chown("/mnt/shared", USER, USER)
run("ip", "link", "add", "cluster", "type", "bridge")
run("ip", "link", "set", "cluster", "up")


class Pod:
    def __init__(self, number):
        self.number, self.process, self.ends, self.log = number, None, [], Path(f"/mnt/pods/{number}.log")
        inside = f"pod-{number}"
        run("ip", "netns", "add", inside)
        run("ip", "link", "add", inside, "type", "veth", "peer", "name", "eth0", "netns", inside)
        run("ip", "link", "set", inside, "master", "cluster", "up")
        for words in [["addr", "add", f"{addresses[number]}/24", "dev", "eth0"], ["link", "set", "eth0", "up"]]:
            run("ip", "-n", inside, *words)
        run("ip", "-n", inside, "link", "set", "lo", "up")
        self.folders = {}
        for volume, place in where.items():
            if "emptyDir" in volumes[volume]:
                folder = Path(f"/mnt/pods/{number}/{volume}")
                folder.mkdir(parents=True)
                folder.chmod(0o777)
                self.folders[place] = folder

    def command(self, *words):
        """Returns a command line that runs as in the container."""
        mounts = [f"mount --bind {folder} {place}" for place, folder in self.folders.items()]
        user = f"setpriv --reuid {USER} --regid {USER} --clear-groups --no-new-privs" if RIGHTS else ""
        start = [f"hostname {name}-{self.number}", *mounts, f'exec {user} env -i "$@"']
        given = {variable["name"]: variable["value"] for variable in container["env"]}
        variables = [f"{key}={value}" for key, value in {**given, "PATH": "/mnt/bin"}.items()]
        within = ["ip", "netns", "exec", f"pod-{self.number}", "unshare", "--uts", "--mount", "sh", "-ec", " && ".join(start), "sh"]
        return [*within, *variables, *words]

    def start(self):
        # A shared directory replaces the bucket.
        instead = ["--set", "checkpoint.dir=/mnt/shared/checkpoint", "--set", "sinks.kept.path=/mnt/shared/totals"]
        with self.log.open("ab") as log:
            words = self.command("millstream", *container["args"], *instead)
            self.process = subprocess.Popen(words, stdout=log, stderr=log, start_new_session=True)

    def look(self):
        """Restarts the container if it has exited, like the kubelet."""
        if self.process.poll() is not None:
            self.ends.append(self.process.returncode)
            self.start()

    def ready(self):
        return run(*self.command(*container["readinessProbe"]["exec"]["command"]), check=False).returncode == 0

    def signal(self, number):
        """Sends a signal to the pod's first process, since each wrapper exec'ed the next one."""
        os.kill(self.process.pid, number)

    def kill(self):
        """Kills all processes of the pod, as if its machine failed."""
        os.killpg(self.process.pid, signal.SIGKILL)

    def report(self):
        return f"--- pod {self.number}, ended with {self.ends}\n" + self.log.read_text()[-4000:]


def losses():
    """Returns how often each connected pod has noticed a lost pod."""
    return [pod.log.read_text().count("another process of the job is lost") for pod in pods[1:]]


def rows():
    """Returns the rows of all batches, as readers see them."""
    files = sorted(Path("/mnt/shared/totals").glob("*.json*")) if Path("/mnt/shared/totals").exists() else []
    return [json.loads(line) for file in files if not file.name.startswith((".", "_")) for line in file.read_text().splitlines()]


def goes_on(what):
    before = len(rows())

    def further():
        for pod in pods:
            pod.look()
        return len(rows()) > before + 500

    until(what, further)


pods = [Pod(number) for number in range(count)]
for pod in pods:
    pod.start()
goes_on("rows come")
for pod in pods:
    until(f"pod {pod.number} is ready", pod.ready)
pods[1].kill()
goes_on("rows come after a pod was killed")
pods[2].signal(signal.SIGTERM)
until("a pod that is deleted ends", lambda: pods[2].process.poll() is not None)
assert pods[2].process.returncode == 0, pods[2].report()
goes_on("rows come after a pod was deleted")
before = losses()
run("ip", "link", "set", "pod-0", "down")
until("the others notice that a pod is cut off", lambda: all(now > then for now, then in zip(losses(), before)))
run("ip", "link", "set", "pod-0", "up")
goes_on("rows come after a pod was cut off")
for pod in pods:
    pod.signal(signal.SIGTERM)
until("all end", lambda: all(pod.process.poll() is not None for pod in pods))
assert [pod.process.returncode for pod in pods] == [0] * count, "\n".join(pod.report() for pod in pods)

seen = rows()
for row in seen:
    # Numbers are consecutive, so a customer's last number determines the number of orders.
    assert row["last"] % 100 == row["customer"] and row["orders"] == row["last"] // 100 + 1, row
assert len({(row["customer"], row["last"]) for row in seen}) == len(seen), "a batch came twice"
print(f"pods: {len(seen)} rows are right")
