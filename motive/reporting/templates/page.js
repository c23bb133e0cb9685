(() => {
  "use strict";
  const films = [...document.querySelectorAll("video")];
  const controls = document.querySelector("[data-controls]");
  const pause = document.querySelector("[data-pause]");
  const modes = [...document.querySelectorAll("[data-mode]")];
  const still = matchMedia("(prefers-reduced-motion: reduce)");
  const visible = new Set();
  let paused = still.matches;

  const start = (film) => {
    if (paused || !visible.has(film)) return;
    film.play().catch(() => { film.controls = true; });
  };

  const adjust = () => {
    pause.setAttribute("aria-pressed", String(paused));
    pause.textContent = paused ? "Play all" : "Pause all";
    for (const film of films) {
      film.controls = paused;
      if (paused) film.pause(); else start(film);
    }
  };

  // A film that is out of view gives its decoder back: a page may hold more films than a browser can play.
  const watcher = new IntersectionObserver((entries) => {
    for (const { target: film, isIntersecting } of entries) {
      if (isIntersecting) {
        visible.add(film);
        if (film.dataset.at !== undefined) {
          film.src = film.dataset.parked;
          film.currentTime = Number(film.dataset.at);
          delete film.dataset.at;
        }
        film.preload = "auto";
        start(film);
      } else if (visible.delete(film)) {
        film.dataset.at = String(film.currentTime);
        film.dataset.parked = film.getAttribute("src");
        film.pause();
        film.removeAttribute("src");
        film.load();
      }
    }
  }, { rootMargin: "400px 0px" });

  const show = (film, mode) => {
    const source = film.dataset[mode];
    const button = film.parentElement.querySelector("[data-swap]");
    if (button) button.setAttribute("aria-pressed", String(mode === "overlay"));
    if (!source) return;
    if (film.dataset.at !== undefined) { film.dataset.parked = source; return; }
    if (film.getAttribute("src") === source) return;
    const at = film.currentTime;
    film.src = source;
    film.currentTime = at;
    start(film);
  };

  for (const button of modes) {
    button.addEventListener("click", () => {
      for (const other of modes) other.setAttribute("aria-pressed", String(other === button));
      for (const film of films) if (film.dataset.overlay) show(film, button.dataset.mode);
    });
  }
  for (const button of document.querySelectorAll("[data-swap]")) {
    button.hidden = false;
    button.addEventListener("click", () => {
      const film = button.parentElement.querySelector("video");
      show(film, button.getAttribute("aria-pressed") === "true" ? "original" : "overlay");
    });
  }
  pause.addEventListener("click", () => { paused = !paused; adjust(); });
  still.addEventListener("change", () => { paused = still.matches; adjust(); });
  controls.hidden = false;
  adjust();
  for (const film of films) watcher.observe(film);

  const links = new Map();
  for (const link of document.querySelectorAll("nav.index a")) links.set(link.hash.slice(1), link);
  let current = null;
  const follow = new IntersectionObserver((entries) => {
    for (const entry of entries) {
      const link = links.get(entry.target.id);
      if (!entry.isIntersecting || !link || link === current) continue;
      if (current) current.removeAttribute("aria-current");
      link.setAttribute("aria-current", "true");
      current = link;
      const box = link.closest("nav");
      const inside = link.getBoundingClientRect();
      const frame = box.getBoundingClientRect();
      if (inside.left < frame.left || inside.right > frame.right) box.scrollLeft += inside.left - frame.left - 40;
      if (inside.top < frame.top || inside.bottom > frame.bottom) box.scrollTop += inside.top - frame.top - 80;
    }
  }, { rootMargin: "-20% 0px -75% 0px" });
  for (const section of document.querySelectorAll("main section[id]")) follow.observe(section);
})();
