"""Bring-up, crash to replaced, idle and tear-down of N trivial children (kid.c) under several process supervisors.
  gcc -O2 benches/kid.c -o PEERS_DIR/kid; PEERS_DIR/venv has psutil, honcho, supervisor; PEERS_DIR/npm has pm2; s6 and runit from the system
  PEERS_DIR=... ZMQNET=target/release/zmqnet python3 benches/orchestrators.py TOOL[,TOOL..] N[,N..] REPS
Ready = every child has bound its TCP port and told us so by unix datagram (no polling). up_s counts from exec of the tool.
restart_ms = SIGKILL one child -> its replacement says ready (7 random children, one at a time, min uptime 1.1 s; first round).
down_s = stop signal/command -> tool gone and every child gone, as the kernel tells of each by its pidfd (no polling). mem = PSS+RSS of the tool's own processes (children excluded).
To add a tool: write a function (dir, n, kidcmd(i)) -> dict(cmd=[..], stop=callable or signal, env={})."""
import os, sys, time, select, socket, signal, subprocess as sp, shutil, random, statistics as st, json, psutil
PD = os.path.abspath(os.environ.get("PEERS_DIR", "peers"))  # where the tools live: kid, venv/, npm/, scratch
ZMQNET = os.path.abspath(shutil.which(os.environ.get("ZMQNET", "zmqnet")) or "zmqnet")
KID = os.environ.get("KID", PD+"/kid"); V = PD+"/venv/bin/"; SETTLE = 1.5
def w(p, s, x=False):
    open(p, "w").write(s)
    if x: os.chmod(p, 0o755)
def sh(d, n, k):
    w(d+"/run.sh", "trap 'kill $(jobs -p); exit' TERM\n" + "".join(f"{k(i)} &\n" for i in range(n)) + "wait\n"); return dict(cmd=["bash", d+"/run.sh"], stop=signal.SIGTERM, restart=False)
def supervisord(d, n, k):
    w(d+"/s.conf", f"[supervisord]\nnodaemon=true\nlogfile={d}/s.log\npidfile={d}/s.pid\n[program:kid]\ncommand={KID} %(process_num)d {d}/sock\nprocess_name=%(process_num)d\nnumprocs={n}\n")
    return dict(cmd=[V+"supervisord", "-c", d+"/s.conf"], stop=signal.SIGTERM)
def circus(d, n, k):
    w(d+"/c.ini", f"[circus]\nendpoint=ipc://{d}/e\npubsub_endpoint=ipc://{d}/p\n[watcher:kid]\ncmd={KID} $(circus.wid) {d}/sock\nnumprocs={n}\n")
    return dict(cmd=[V+"circusd", d+"/c.ini"], stop=signal.SIGTERM)
def honcho(d, n, k):
    w(d+"/Procfile", "".join(f"k{i}: {k(i)}\n" for i in range(n))); return dict(cmd=[V+"honcho", "-d", d, "start"], stop=signal.SIGTERM, restart=False)
def runit(d, n, k):
    for i in range(n): os.makedirs(f"{d}/sv/{i}"); w(f"{d}/sv/{i}/run", f"#!/bin/sh\nexec {k(i)}\n", True)
    return dict(cmd=["runsvdir", d+"/sv"], stop=signal.SIGHUP)
def s6(d, n, k):
    for i in range(n): os.makedirs(f"{d}/sv/{i}"); w(f"{d}/sv/{i}/run", f"#!/bin/sh\nexec {k(i)}\n", True)
    return dict(cmd=["s6-svscan", d+"/sv"], stop=["s6-svscanctl", "-t", d+"/sv"])
def pm2(d, n, k):
    w(d+"/eco.json", json.dumps({"apps": [dict(name=f"k{i}", script=KID, args=f"{i} {d}/sock", interpreter="none") for i in range(n)]}))
    P = PD+"/npm/node_modules/.bin/pm2"
    return dict(cmd=[P, "start", d+"/eco.json"], stop=[P, "kill"], env={"PM2_HOME": d+"/pm2"}, daemon=True, pat=d+"/pm2")
def zmqnet(d, n, k):
    # JSON is a manifest too. Backoff is set to its least, since restart_ms is time on top of it.
    node = dict(command=[KID, "${node.index}", d+"/sock"], replicas=n, restart=dict(when="always", backoff="0s..0s", limit="1000/1m"))
    w(d+"/t.json", json.dumps(dict(zmqnet=1, name=f"orch{n}", nodes=dict(kid=node))))
    Z = ZMQNET; E = {"XDG_STATE_HOME": d+"/state", "XDG_RUNTIME_DIR": d+"/run"}
    os.makedirs(d+"/run", mode=0o700)
    return dict(cmd=[Z, "apply", d+"/t.json"], stop=[Z, "down", "-T", f"orch{n}"], env=E, daemon=True, own=lambda: [psutil.Process(s[x]["pid"]) for s in [json.loads(sp.run([Z, "status", "-T", f"orch{n}", "-o", "json"], env={**os.environ, **E}, stdout=sp.PIPE).stdout)] for x in ("keeper", "supervisor")])
def alive(p):
    try: return open(f"/proc/{p}/stat").read().rsplit(")", 1)[1].split()[0] != "Z"
    except OSError: return False
def end_of(p):
    try: return os.pidfd_open(p)
    except OSError: return None
def one(name, n, full):
    d = f"{PD}/o/{name}-{n}"; shutil.rmtree(d, ignore_errors=True); os.makedirs(d)
    s = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM); s.bind(d+"/sock"); s.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 20)
    o = globals()[name](d, n, lambda i: f"{KID} {i} {d}/sock"); r = {"tool": name, "n": n}
    env = {**os.environ, **o.get("env", {})}; pids = {}
    def take(t):
        s.settimeout(t); a, b = s.recv(64).split(); a = int(a); old = a in pids; pids[a] = int(b); return a
    t = time.perf_counter(); p = sp.Popen(o["cmd"], env=env, stdout=sp.DEVNULL, stderr=sp.DEVNULL, start_new_session=True, cwd=d)
    seen = set()
    try:
        while len(seen) < n: seen.add(take(90))
        r["up_s"] = time.perf_counter() - t
        if o.get("daemon"): p.wait(90); r["cmd_back_s"] = time.perf_counter() - t
        def procs():
            if o.get("own"): return o["own"]()
            kids = set(pids.values())
            if o.get("daemon"): base = [q for q in psutil.process_iter(["cmdline"]) if "God Daemon" in (c := " ".join(q.info["cmdline"] or [])) and d in c]
            else: base = [psutil.Process(p.pid)]
            return [x for b in base for x in [b]+b.children(recursive=True) if x.pid not in kids]
        time.sleep(SETTLE)
        ps = procs(); r["procs"] = len(ps)
        r["rss_mb"] = sum(x.memory_info().rss for x in ps)/1e6; r["pss_mb"] = sum(x.memory_full_info().pss for x in ps)/1e6
        if full:
            cpu = lambda: sum(sum(x.cpu_times()[:2]) for x in ps if x.is_running())
            c0 = cpu(); time.sleep(5); r["idle_cpu_pct"] = (cpu()-c0)*20
            if o.get("restart", True):
                L = []
                for i in random.sample(sorted(seen), 7):
                    time.sleep(1.1 + random.random()*.9); k0 = time.perf_counter(); os.kill(pids[i], 9)
                    while take(30) != i: pass
                    L.append((time.perf_counter()-k0)*1e3)
                r["restart_ms_p50"] = st.median(L); r["restart_ms_max"] = max(L)
    except Exception as e: r["err"] = repr(e)
    own = [x.pid for x in procs()] if "procs" in dir() else [p.pid]
    ends = [f for f in map(end_of, list(pids.values())+own) if f is not None]
    t = time.perf_counter()
    if isinstance(o["stop"], list): sp.run(o["stop"], env=env, stdout=sp.DEVNULL, stderr=sp.DEVNULL)
    else: p.send_signal(o["stop"])
    for f in ends: select.select([f], [], [], max(0, 60-(time.perf_counter()-t)))
    r["down_s"] = time.perf_counter()-t; p.poll()
    for f in ends: os.close(f)
    left = [x for x in list(pids.values())+own if alive(x)]; r["left"] = len(left)
    for x in left: os.kill(x, 9)
    s.close(); return r
if __name__ == "__main__":
    # Round after round, one tool after the other, so that whoever else uses the machine hits all alike.
    names, sizes, rounds = sys.argv[1].split(","), [int(n) for n in sys.argv[2].split(",")], int(sys.argv[3])
    R = {}
    for i in range(rounds):
        for n in sizes:
            for name in names:
                r = one(name, n, i == 0 and (n == 100 or name == "zmqnet")); R.setdefault((n, name), []).append(r)
                print(json.dumps({**r, "load": os.getloadavg()[0]}), file=sys.stderr, flush=True)
    for (n, name), rs in sorted(R.items()):
        keys = dict.fromkeys(k for x in rs for k in x if k not in ("err", "tool", "n"))
        m = {k: round(st.median([x[k] for x in rs if k in x]), 4) for k in keys}
        print(json.dumps({"tool": name, "n": n, **m, "errs": [x["err"] for x in rs if "err" in x]}), flush=True)
