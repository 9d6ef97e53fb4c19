// Typesets what pymdownx.arithmatex marked as formulas, \(inline\) and \[displayed\].
document$.subscribe(() => {
  for (const element of document.querySelectorAll(".arithmatex")) {
    const tex = element.textContent.trim();
    if (!/^\\[([]/.test(tex)) continue; // typeset before
    const known = tex
      .slice(2, -2)
      // KaTeX has no blackboard digits: the indicator function is bold instead.
      .replace(/\\mathbb\s*\{?1\}?/g, "\\mathbf{1}")
      // Nor does it take an underscore for a letter, in text.
      .replace(/\\text(tt)?\{[^{}]*\}/g, (text) => text.replace(/(?<!\\)_/g, "\\_"));
    katex.render(known, element, {
      displayMode: tex.startsWith("\\["),
      throwOnError: false,
    });
  }
});
