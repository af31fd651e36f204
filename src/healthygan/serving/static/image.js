// An image's samples, and how they become grey: all of their 8 or 16 bits are here, the window is applied here.

/** Fetches a case's samples. */
export async function fetchImage(id) {
  const answer = await fetch(`/case/${id}/pixels`);
  if (!answer.ok) throw new Error(await answer.text());
  const told = JSON.parse(answer.headers.get("x-image"));
  const buffer = await answer.arrayBuffer();
  return { ...told, samples: told.bits === 8 ? new Uint8Array(buffer) : new Uint16Array(buffer) };
}

/** Fetches a case's map and where on the image it lies; null where there is none. */
export async function fetchMap(id) {
  const answer = await fetch(`/case/${id}/overlay`);
  if (!answer.ok) return null;
  const place = JSON.parse(answer.headers.get("x-place"));
  return { ...place, bitmap: await createImageBitmap(await answer.blob()) };
}

/** Draws the samples into `target` (ImageData) with a window of values. */
export function paint(image, { low, high, inverted }, target) {
  const table = greys(image, low, high, inverted);
  const out = new Uint32Array(target.data.buffer);
  const { samples, channels } = image;
  if (channels === 1) {
    for (let n = 0; n < out.length; n++) out[n] = 0xff000000 | (table[samples[n]] * 0x010101);
    return;
  }
  for (let n = 0, at = 0; n < out.length; n++, at += 3) {
    out[n] = 0xff000000 | (table[samples[at + 2]] << 16) | (table[samples[at + 1]] << 8) | table[samples[at]];
  }
}

function greys({ bits, offset, step }, low, high, inverted) {
  const table = new Uint8ClampedArray(2 ** bits);
  const scale = 255 / Math.max(high - low, 1e-12);
  for (let sample = 0; sample < table.length; sample++) {
    const grey = (offset + step * sample - low) * scale;
    table[sample] = inverted ? 255 - Math.min(Math.max(grey, 0), 255) : grey;
  }
  return table;
}

/** The window between the 0.5th and the 99.5th percentile of the samples. */
export function automatic({ samples, bits, offset, step }) {
  const counts = new Uint32Array(2 ** bits);
  for (const sample of samples) counts[sample]++;
  const at = (share) => {
    let seen = 0;
    const wanted = share * samples.length;
    for (let sample = 0; sample < counts.length; sample++) if ((seen += counts[sample]) > wanted) return sample;
    return counts.length - 1;
  };
  const [low, high] = [at(0.005), at(0.995)];
  return { low: offset + step * low, high: offset + step * Math.max(high, low + 1) };
}
